//! Every bound of Exeat in one place, so that nothing waits or grows without one. Units are in the names.

use std::time::Duration;

/// Longest request or response head, in bytes.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// Most header fields in one head.
pub const HEADER_FIELDS_MAX: usize = 128;
/// Longest path and query, in bytes.
pub const TARGET_BYTES_MAX: usize = 16 * 1024;
/// Largest body that is read whole before a decision, unless the tool says less.
pub const WHOLE_BODY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// All bodies held whole at one moment, for the process.
pub const WHOLE_BODIES_BYTES_MAX: usize = 256 * 1024 * 1024;
/// Largest body that Pingora replays by itself; above it the buffered lane is taken.
pub const REPLAY_BODY_BYTES_MAX: usize = 64 * 1024;
/// Largest body that is held whole to put placeholders in the place of the tokens that it hands out.
pub const MINTED_BODY_BYTES_MAX: usize = 1024 * 1024;
/// Deepest JSON that is read.
pub const JSON_DEPTH_MAX: usize = 96;
/// How far decompression may blow a response up before it is refused.
pub const DECODE_RATIO_MAX: u64 = 1000;
/// Decoded bytes that are always allowed, whatever the ratio.
pub const DECODE_FREE_BYTES: u64 = 1024 * 1024;
/// Shortest secret that custody keeps.
pub const SECRET_BYTES_MIN: usize = 8;
/// Largest secret that custody keeps.
pub const SECRET_BYTES_MAX: usize = 64 * 1024;
/// Signatures that may wait for one device.
pub const DEVICE_CALLS_MAX: usize = 1024;
/// How long a device may take to sign.
pub const DEVICE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long opening a key in a device may take.
pub const DEVICE_OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// After so long without a signature, the connection to a device is given up for others.
pub const DEVICE_IDLE: Duration = Duration::from_secs(2);
/// Connections that one listener holds at a time.
pub const CONNECTIONS_MAX: usize = 8192;
/// Idle upstream connections kept for reuse.
pub const UPSTREAM_POOL_MAX: usize = 512;
/// Leaves that the CA keeps.
pub const LEAF_CACHE_MAX: usize = 4096;
/// Receipts of refusals per agent and second before equal ones are counted in one record.
pub const REFUSALS_PER_SECOND_MAX: u32 = 100;
/// Records that may wait for one group commit.
pub const JOURNAL_QUEUE_MAX: usize = 65_536;
/// Addresses of one upstream that are tried.
pub const ADDRESSES_MAX: usize = 16;
/// Longest answer of an upstream proxy to CONNECT, in bytes.
pub const PROXY_ANSWER_BYTES_MAX: usize = 16 * 1024;
/// Largest reply to a request of Exeat's own, in bytes.
pub const OWN_REPLY_BYTES_MAX: usize = 1024 * 1024;
/// Tokens that are kept, over all credentials.
pub const TOKENS_MAX: usize = 4096;
/// Longest TLS client hello that is read before its name must be known, in bytes.
pub const CLIENT_HELLO_BYTES_MAX: usize = 64 * 1024;

/// Largest body that a human is asked about: longer ones cannot be read anyway.
pub const APPROVAL_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// All bodies that are kept for the open questions of one agent.
pub const APPROVAL_BYTES_PER_AGENT_MAX: usize = 16 * 1024 * 1024;
/// All bodies that are kept for open questions.
pub const APPROVAL_BYTES_MAX: usize = 128 * 1024 * 1024;
/// Questions of one agent that may be open.
pub const APPROVALS_PER_AGENT_MAX: usize = 20;
/// Approvals that are kept in memory, closed ones among them.
pub const APPROVALS_KEPT_MAX: usize = 4096;
/// Requests that were approved and are kept for a day to compare the next one with.
pub const APPROVALS_LAST_MAX: usize = 256;
/// All bodies of those.
pub const APPROVAL_LAST_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Calls that may wait for an answer at one moment.
pub const APPROVAL_WAITS_MAX: usize = 512;
/// Calls of one agent that may wait for an answer.
pub const APPROVAL_WAITS_PER_AGENT_MAX: u32 = 64;
/// Challenges of one approval that may be out at a time.
pub const APPROVAL_CHALLENGES_MAX: usize = 16;
/// A call is held this long for a human's answer.
pub const APPROVAL_HOLD: Duration = Duration::from_secs(25);
/// A question can be answered within this time.
pub const APPROVAL_TIME: Duration = Duration::from_secs(60 * 60);
/// What was granted once, or for a number of uses, has to be used within this time.
pub const APPROVAL_USE_TIME: Duration = Duration::from_secs(60 * 60);
/// A challenge has to be signed within this time.
pub const APPROVAL_CHALLENGE_TIME: Duration = Duration::from_secs(5 * 60);
/// After a refusal the same tool cannot be asked for within this time; it doubles with each further one.
pub const APPROVAL_COOLING_MIN: Duration = Duration::from_secs(60);
/// And never more than this.
pub const APPROVAL_COOLING_MAX: Duration = Duration::from_secs(60 * 60);
/// Nobody is notified of the same agent's questions about the same tool more often than this.
pub const APPROVAL_NOTICE_PAUSE: Duration = Duration::from_secs(30);

/// A client must finish its first head (or TLS hello) within this time.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// A TLS handshake must end within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A kept-alive client connection may stay silent this long.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(75);
/// A request body must make progress within this time.
pub const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Name resolution must answer within this time.
pub const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Connecting to upstream, TLS included, must end within this time.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// After this time without a connection the next address of an upstream is tried beside those before it.
pub const NEXT_ADDRESS_DELAY: Duration = Duration::from_millis(250);
/// A connection that passes unread is closed when neither side has sent anything for this time, or at most twice as long.
pub const TUNNEL_IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// Upstream must send the next byte within this time. Long polls and event streams send heartbeats well below it.
pub const UPSTREAM_READ_TIMEOUT: Duration = Duration::from_secs(600);
/// An idle upstream connection is closed after this time.
pub const UPSTREAM_IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// A command that yields a secret must end within this time.
pub const SECRET_COMMAND_TIMEOUT: Duration = Duration::from_secs(30);
/// A request of Exeat's own, such as to a token endpoint, must end within this time.
pub const OWN_REQUEST_TIMEOUT: Duration = Duration::from_secs(15);
/// A call waits this long for a token to be issued.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);
/// An issuer that could not be reached is not asked again within this time.
pub const ISSUER_PAUSE: Duration = Duration::from_secs(5);
/// How long open calls may drain at shutdown.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open calls may go on in a gate that was replaced by another.
pub const REPLACED_DRAIN_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// A record must be durable within this time, or the call is refused.
pub const JOURNAL_TIMEOUT: Duration = Duration::from_secs(10);
