"""`make token`, its secrets and its lock."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import jwt
import pytest

from dev.instance import Identity, Instance
from dev.process import ROOT, CannotRun
from dev.server import keep_secret


def token(data_dir: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "DATA_DIR": str(data_dir), **variables}
    return subprocess.run(
        [sys.executable, "-m", "dev.token"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    instance = Instance(tmp_path / "data")
    instance.prepare()
    return instance


def test_the_token_names_user_role_and_life(instance: Instance):
    secret = instance.keep_jwt_secret()
    result = token(instance.directory, USER="alice", ROLE="admin", TTL="60")
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    claims = jwt.decode(result.stdout.strip(), secret, algorithms=["HS256"], audience="unbroken", issuer="unbroken")
    assert (claims["sub"], claims["role"]) == ("alice", "admin")
    assert claims["exp"] - claims["iat"] == 60
    assert abs(claims["iat"] - time.time()) < 30
    assert claims["jti"]


def test_the_token_fits_the_running_instance_whatever_the_shell_says(instance: Instance):
    instance.keep_jwt_secret()
    instance.lock()
    instance.record("http://127.0.0.1:1", Identity("s" * 40, audience="chat", issuer="us"))
    result = token(instance.directory, USER="alice", JWT_SECRET="t" * 40)
    claims = jwt.decode(result.stdout.strip(), "s" * 40, algorithms=["HS256"], audience="chat", issuer="us")
    assert "role" not in claims


def test_without_an_instance_there_is_a_reason_and_no_token(tmp_path: Path):
    result = token(tmp_path / "nothing", USER="alice")
    assert (result.returncode, result.stdout) == (1, "")
    assert "there is no instance in" in result.stderr


@pytest.mark.parametrize("ttl", ["0", "-5", "soon", "1e3"])
def test_a_life_that_is_no_number_is_refused(instance: Instance, ttl: str):
    instance.keep_jwt_secret()
    result = token(instance.directory, USER="alice", TTL=ttl)
    assert (result.returncode, result.stdout) == (1, "")
    assert "TTL" in result.stderr


def test_an_instance_whose_tokens_others_sign_says_so(instance: Instance):
    instance.record("http://127.0.0.1:1", Identity(None))
    result = token(instance.directory, USER="alice")
    assert (result.returncode, result.stdout) == (1, "")
    assert "JWT_JWKS_URL" in result.stderr


def test_a_secret_stays_the_same_and_is_readable_by_its_owner_only(tmp_path: Path):
    path = tmp_path / "deep" / "secret"
    secret = keep_secret(path)
    assert keep_secret(path) == secret
    assert len(secret.encode()) >= 32
    assert path.stat().st_mode & 0o777 == 0o600


def test_one_instance_at_a_time_has_a_directory(instance: Instance):
    instance.lock()
    second = Instance(instance.directory)
    with pytest.raises(CannotRun, match="another `make run`"):
        second.lock(patience=0.2)
    instance.record("http://127.0.0.1:1", Identity("s" * 40))
    second.release()
    assert instance.identity().secret == "s" * 40, "the refused one must not take the note of the running one"
    instance.release()
    second.lock(patience=0.2)
