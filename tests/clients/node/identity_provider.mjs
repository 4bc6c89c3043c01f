// A real identity provider: npm's oidc-provider with one client. Arguments: the client's public address, and the address
// of its back channel. It prints its issuer. A login form accepts every name; the name is the subject.
import { createServer } from "node:http";
import Provider from "oidc-provider";

const [origin, backchannel, issuerText] = process.argv.slice(2);
const server = createServer();
server.listen(0, "127.0.0.1", () => {
  const issuer = issuerText || `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    clients: [
      {
        client_id: "unbroken",
        client_secret: "a secret: with + and %",
        redirect_uris: [`${origin}/signin/callback`],
        post_logout_redirect_uris: [`${origin}/signin`],
        backchannel_logout_uri: backchannel,
        backchannel_logout_session_required: true,
      },
    ],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "roles"] },
    features: { backchannelLogout: { enabled: true } },
    // Its own fetch calls no address of this machine.
    fetch: (url, { dispatcher, ...options }) => fetch(url, options),
    pkce: { required: () => true },
    ttl: { Session: 600, Grant: 600, Interaction: 600, IdToken: 600, AccessToken: 600 },
    cookies: { keys: ["a key of this test"] },
    findAccount: (context, id) => ({
      accountId: id,
      claims: () => ({
        sub: id,
        email: `${id}@example.com`,
        email_verified: true,
        name: id.toUpperCase(),
        roles: id === "root" ? ["users", "admins"] : ["users"],
      }),
    }),
  });
  provider.on("backchannel.error", (context, error) => console.error(error));
  server.on("request", provider.callback());
  console.log(issuer);
});
