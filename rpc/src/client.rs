//! The client: one WebSocket to a node on this host.

use crate::{
    RpcError,
    credential::Credential,
    dispatch::MAX_ANSWER,
    error::ErrorBody,
    methods,
    subscribe::{EventsParams, Frame, LogsItem, LogsParams},
};
use futures::{Stream, stream};
use holm_types::event::Event;
use http::{HeaderMap, Uri, header};
use jsonrpsee_client_transport::ws::WsHandshakeError;
use jsonrpsee_core::{
    ClientError,
    client::{ClientT, Subscription, SubscriptionClientT, SubscriptionCloseReason},
    traits::ToRpcParams,
};
use jsonrpsee_ws_client::{WsClient, WsClientBuilder};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;
use std::{sync::Arc, time::Duration};
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

/// How long a node may take to accept a connection.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// How often a connection is tried that the node closes without an answer.
const TRIES: usize = 5;
/// The pause between two of them.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(20);
/// How long a node may take to answer a call.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// Notifications that wait to be read; beyond that the subscription ends with [`RpcError::Lagged`].
const MAX_WAITING: usize = 4096;

/// A connection to a node. Dropping it, and the streams that came from it, closes it.
#[derive(Debug)]
pub struct Client {
    socket: Arc<WsClient>,
}

impl Client {
    /// Connects to a node of this host: `http://127.0.0.1:7070`, `ws://127.0.0.1:7070/rpc` or `127.0.0.1:7070`.
    ///
    /// # Errors
    /// The address makes no sense or is not of this host, nobody answers there, or the credential is refused.
    pub async fn connect(url: &str, credential: &Credential) -> Result<Client, RpcError> {
        let target = Target::parse(url)?;
        let in_time = timeout(CONNECT_WITHIN, Client::open(&target, credential)).await;
        let late = || RpcError::Unreachable(format!("{} does not answer", target.authority()));
        Ok(Client { socket: Arc::new(in_time.map_err(|_| late())??) })
    }

    /// Opens the WebSocket. A node that is flooded with connections may have closed this one before it read the
    /// credential; then it is worth another try.
    async fn open(target: &Target, credential: &Credential) -> Result<WsClient, RpcError> {
        let mut tries = 0;
        loop {
            tries += 1;
            match Client::open_once(target, credential).await {
                Err(Refused { error: _, dropped: true }) if tries < TRIES => sleep(TRY_AGAIN_AFTER).await,
                outcome => return outcome.map_err(|refused| refused.error),
            }
        }
    }

    async fn open_once(target: &Target, credential: &Credential) -> Result<WsClient, Refused> {
        let lost = |error| Refused { error, dropped: false };
        let unreachable = |e: std::io::Error| lost(RpcError::Unreachable(format!("{}: {e}", target.authority())));
        let socket = TcpStream::connect((target.host.as_str(), target.port)).await.map_err(unreachable)?;
        let _ = socket.set_nodelay(true);
        WsClientBuilder::new()
            .set_headers(HeaderMap::from_iter([(header::AUTHORIZATION, credential.header().map_err(lost)?)]))
            .request_timeout(ANSWER_WITHIN)
            .max_response_size(u32::try_from(MAX_ANSWER).unwrap_or(u32::MAX))
            .max_buffer_capacity_per_subscription(MAX_WAITING)
            .build_with_stream(format!("ws://{}/rpc", target.authority()), socket)
            .await
            .map_err(|error| Refused { dropped: is_dropped(&error), error: failed(error) })
    }

    /// Calls a method with named parameters: a struct, a map, or `()` for none.
    ///
    /// # Errors
    /// The node refuses the call, does not answer in time, or answers in another shape.
    pub async fn call<P: Serialize, R: DeserializeOwned>(&self, method: &str, params: &P) -> Result<R, RpcError> {
        self.socket.request(method, Named::new(params)?).await.map_err(failed)
    }

    /// Events of the node: the last ones that it remembers if `recent`, and what happens from now on if
    /// `follow`. The stream ends when the node stops sending, with an error if that is not by its own will.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn subscribe_events(
        &self,
        recent: bool,
        follow: bool,
    ) -> Result<impl Stream<Item = Result<Event, RpcError>> + Send + use<>, RpcError> {
        self.subscribe(methods::EVENTS, &EventsParams { recent, once: !follow }).await
    }

    /// Output of tasks. An item whose `error` is set concerns one output; the stream's own error, all.
    ///
    /// # Errors
    /// There is no such task, or the node refuses for another reason.
    pub async fn subscribe_logs(
        &self,
        params: &LogsParams,
    ) -> Result<impl Stream<Item = Result<LogsItem, RpcError>> + Send + use<>, RpcError> {
        self.subscribe(methods::LOGS, params).await
    }

    async fn subscribe<P: Serialize, T: DeserializeOwned + Send + 'static>(
        &self,
        (subscribe, unsubscribe): (&str, &str),
        params: &P,
    ) -> Result<impl Stream<Item = Result<T, RpcError>> + Send + use<P, T>, RpcError> {
        let subscription: Subscription<Frame<T>> =
            self.socket.subscribe(subscribe, Named::new(params)?, unsubscribe).await.map_err(failed)?;
        // The stream keeps the connection open.
        let open = Some((subscription, Arc::clone(&self.socket)));
        Ok(stream::unfold(open, |open| async {
            let (mut subscription, socket) = open?;
            match subscription.next().await {
                Some(Ok(Frame::Item(item))) => Some((Ok(item), Some((subscription, socket)))),
                Some(Ok(Frame::End {})) => None,
                Some(Ok(Frame::Error(body))) => Some((Err(body.into()), None)),
                Some(Err(error)) => Some((Err(RpcError::Protocol(error.to_string())), None)),
                None => Some((Err(closed(subscription.close_reason())), None)),
            }
        }))
    }
}

/// Why a connection did not come about.
struct Refused {
    error: RpcError,
    /// The node closed it without a word.
    dropped: bool,
}

fn is_dropped(error: &ClientError) -> bool {
    let ClientError::Transport(cause) = error else { return false };
    matches!(cause.downcast_ref::<WsHandshakeError>(), Some(WsHandshakeError::Io(_) | WsHandshakeError::Transport(_)))
}

fn closed(reason: Option<SubscriptionCloseReason>) -> RpcError {
    match reason {
        Some(SubscriptionCloseReason::Lagged) => RpcError::Lagged,
        Some(SubscriptionCloseReason::ConnectionClosed) | None => {
            RpcError::Unreachable("the connection was lost".into())
        }
    }
}

/// Parameters, which must be named.
struct Named(Option<Box<RawValue>>);

impl Named {
    fn new<P: Serialize>(params: &P) -> Result<Named, RpcError> {
        let json = serde_json::value::to_raw_value(params).map_err(|e| RpcError::Protocol(e.to_string()))?;
        match json.get().as_bytes().first() {
            Some(b'{') => Ok(Named(Some(json))),
            Some(b'n') => Ok(Named(None)),
            _ => Err(RpcError::Protocol(format!("parameters are given by name, not as {json}"))),
        }
    }
}

impl ToRpcParams for Named {
    fn to_rpc_params(self) -> Result<Option<Box<RawValue>>, serde_json::Error> {
        Ok(self.0)
    }
}

fn failed(error: ClientError) -> RpcError {
    match error {
        ClientError::Call(object) => ErrorBody::from(&object).into(),
        ClientError::Transport(cause) => match cause.downcast_ref::<WsHandshakeError>() {
            Some(WsHandshakeError::Rejected { status_code: 401 }) => RpcError::Unauthorised,
            Some(WsHandshakeError::Rejected { status_code: 503 }) => {
                RpcError::Unreachable("it has too many connections".into())
            }
            Some(WsHandshakeError::Rejected { .. } | WsHandshakeError::Redirected { .. }) => {
                RpcError::Protocol(format!("this is not a Holm node: {cause}"))
            }
            _ => RpcError::Unreachable(cause.to_string()),
        },
        ClientError::RequestTimeout => RpcError::TimedOut,
        ClientError::RestartNeeded(cause) => RpcError::Unreachable(format!("the connection was lost: {cause}")),
        ClientError::ServiceDisconnect => RpcError::Unreachable("the connection was lost".into()),
        other => RpcError::Protocol(other.to_string()),
    }
}

/// An address as far as it can be shown: somebody may have tried to give the credential in it.
fn shown(url: &str) -> &str {
    let end = url.find(['?', '#']).unwrap_or(url.len());
    url[..end].rsplit_once('@').map_or(&url[..end], |(_, host)| host)
}

/// Where a node is.
#[derive(Debug, PartialEq, Eq)]
struct Target {
    host: String,
    port: u16,
}

impl Target {
    fn parse(url: &str) -> Result<Target, RpcError> {
        let fault = |why: &str| RpcError::Url { url: shown(url).to_owned(), why: why.to_owned() };
        let full = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
        let uri: Uri = full.parse().map_err(|_| fault("an address such as http://127.0.0.1:7070 is expected"))?;
        match uri.scheme_str() {
            Some("http" | "ws") => {}
            _ => return Err(fault("the interface speaks http and ws")),
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(fault("the credential is not part of the address: it is read from the node's data folder"));
        }
        if !matches!(uri.path(), "" | "/" | "/rpc") || uri.query().is_some() {
            return Err(fault("the path is /rpc"));
        }
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let local = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        if !local {
            return Err(fault("the credential is only sent within this host: 127.0.0.1, [::1] or localhost"));
        }
        let port = uri.port_u16().ok_or_else(|| fault("the port is missing"))?;
        Ok(Target { host, port })
    }

    fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_of_this_host() {
        for url in ["http://127.0.0.1:7070", "http://127.0.0.1:7070/", "ws://127.0.0.1:7070/rpc", "127.0.0.1:7070"] {
            assert_eq!(Target::parse(url).expect(url).authority(), "127.0.0.1:7070");
        }
        assert_eq!(Target::parse("http://[::1]:7070").expect("IPv6").authority(), "[::1]:7070");
        assert_eq!(Target::parse("localhost:7070").expect("a name").authority(), "localhost:7070");
        for url in [
            "https://127.0.0.1:7070",
            "http://10.0.0.1:7070",
            "http://127.0.0.1",
            "",
            "://",
            "http://127.0.0.1:7070/x",
            "http://127.0.0.1.example.org:7070",
            "http://127.0.0.1:99999",
            "ftp://127.0.0.1:7070",
        ] {
            assert!(Target::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn a_credential_in_an_address_is_not_shown() {
        for url in [
            "http://5ec2e7@127.0.0.1:7070",
            "http://user:5ec2e7@127.0.0.1:7070/rpc",
            "http://127.0.0.1:7070/rpc?token=5ec2e7",
            "http://127.0.0.1:7070/rpc#5ec2e7",
            "5ec2e7@127.0.0.1:7070 ",
        ] {
            match Target::parse(url) {
                Ok(target) => assert_eq!(target.authority(), "127.0.0.1:7070"),
                Err(refused) => assert!(!refused.to_string().contains("5ec2e7"), "{refused}"),
            }
        }
    }

    #[test]
    fn parameters_are_named() {
        assert!(Named::new(&()).expect("none").0.is_none());
        assert!(Named::new(&EventsParams::default()).expect("a struct").0.is_some());
        assert!(Named::new(&[1, 2]).is_err());
        assert!(Named::new(&"text").is_err());
    }
}
