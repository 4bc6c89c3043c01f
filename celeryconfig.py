"""Celery's policy as plain values. A message is only a doorbell: the row in PostgreSQL says what is to be done."""

task_default_queue = "generations"
task_serializer = "json"
accept_content = ["json"]
# Redelivery, results and retries are PostgreSQL's business (lease, row, sweeper): Celery's would do them twice.
task_acks_late = False
task_ignore_result = True
result_backend = None
worker_prefetch_multiplier = 1
worker_send_task_events = True
task_send_sent_event = True
worker_consumer = "worker.consumer:Consumer"
worker_hijack_root_logger = False
broker_connection_retry_on_startup = True
broker_connection_timeout = 2
# A send is given up after about a second; the sweeper finds what it leaves.
broker_transport_options = {
    "socket_timeout": 2,
    "socket_connect_timeout": 1,
    "socket_keepalive": True,
    "health_check_interval": 10,
    # No task is ever unacknowledged for long (acks_late is off), so this only has to be above a network pause.
    "visibility_timeout": 3600,
}
task_publish_retry = False
timezone = "UTC"
