//! The one place that knows quinn's settings, so that another QUIC implementation can take its place (DESIGN 4).

mod steady;

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::congestion::BbrConfig;
use quinn::{EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt};

use steady::SteadyConfig;

/// Bytes on their way per connection: BDP of 20 Mbit/s and 80 ms and a frame or two. A larger window only queues, and
/// what waits there cannot be dropped (DESIGN 4).
pub(crate) const SEND_WINDOW: u64 = 256 * 1024;
/// Bytes that a peer may send ahead of the reader, per stream and per connection.
const STREAM_RECEIVE_WINDOW: u32 = 1024 * 1024;
const RECEIVE_WINDOW: u32 = 8 * 1024 * 1024;
/// Unidirectional streams that a peer may have open: three layers of two groups of a hundred streams (DESIGN 4: hundreds).
const UNI_STREAMS_MAX: u32 = 600;
/// Bidirectional streams: the control stream.
const BIDI_STREAMS_MAX: u32 = 1;
/// Backstop for deaths that probes do not notice first.
const IDLE_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent where nothing else is, so that a quiet connection is not taken for a dead one.
const KEEP_ALIVE: Duration = Duration::from_secs(2);
/// Round-trip time assumed before the first measurement.
const INITIAL_RTT: Duration = Duration::from_millis(100);
/// Bytes on their way to a viewer: BDP of 25 Mbit/s and 300 ms. One that takes less passes over what it has no time for.
const VIEWER_SEND_WINDOW: u64 = 1024 * 1024;
/// Bytes that a viewer may send: a request of at most 16 KiB, and what HTTP/3 says of itself.
const VIEWER_RECEIVE_WINDOW: u32 = 64 * 1024;
/// Streams that a viewer may have open: control and header compression (RFC 9114, RFC 9204), with room for unknown ones
/// that browsers send on purpose.
const VIEWER_UNI_STREAMS_MAX: u32 = 8;
/// The session's.
const VIEWER_BIDI_STREAMS_MAX: u32 = 1;
/// A viewer that nothing is heard of for this long is gone.
const VIEWER_IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// Probes that may wait to be sent; older ones go.
const DATAGRAM_BUFFER: usize = 16 * 1024;
/// Socket buffers (DESIGN 4); the kernel may grant less.
const SOCKET_BUFFER: usize = 4 * 1024 * 1024;

/// Transport settings of every link.
pub fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(Arc::new(SteadyConfig::default()))
        .send_window(SEND_WINDOW)
        .stream_receive_window(VarInt::from_u32(STREAM_RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(RECEIVE_WINDOW))
        .max_concurrent_uni_streams(VarInt::from_u32(UNI_STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(BIDI_STREAMS_MAX))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(IDLE_TIMEOUT).ok())
        .initial_rtt(INITIAL_RTT)
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER);
    Arc::new(transport)
}

/// Transport settings for viewers, who are sent media and send next to nothing.
pub(crate) fn transport_to_viewers() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .congestion_controller_factory(Arc::new(BbrConfig::default()))
        .send_window(VIEWER_SEND_WINDOW)
        .stream_receive_window(VarInt::from_u32(VIEWER_RECEIVE_WINDOW))
        .receive_window(VarInt::from_u32(VIEWER_RECEIVE_WINDOW))
        .max_concurrent_uni_streams(VarInt::from_u32(VIEWER_UNI_STREAMS_MAX))
        .max_concurrent_bidi_streams(VarInt::from_u32(VIEWER_BIDI_STREAMS_MAX))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(VIEWER_IDLE_TIMEOUT).ok())
        .initial_rtt(INITIAL_RTT)
        // Browsers ask for datagrams before they call it WebTransport. Nobody reads them: old ones go.
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER));
    Arc::new(transport)
}

/// A bound UDP socket with large buffers, wrapped in a QUIC endpoint.
pub fn endpoint(listen: SocketAddr, server: Option<quinn::ServerConfig>) -> std::io::Result<quinn::Endpoint> {
    let socket = UdpSocket::bind(listen)?;
    let settings = socket2::SockRef::from(&socket);
    // The kernel's limits may be lower; the default then serves, only less well under bursts.
    if settings.set_recv_buffer_size(SOCKET_BUFFER).and(settings.set_send_buffer_size(SOCKET_BUFFER)).is_err() {
        tracing::debug!(bytes = SOCKET_BUFFER, "socket buffers stay at the system's default");
    }
    quinn::Endpoint::new(EndpointConfig::default(), server, socket, Arc::new(TokioRuntime))
}
