//! The gate as a transport: every connection passes it, in either direction, before anybody else
//! has it.

use super::{GateError, GateShared, contained};
use crate::{address, transport::Link};
use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{Boxed, DialOpts, ListenerId, TransportError, TransportEvent},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

/// The gate around a transport.
pub(crate) struct Gate {
    inner: Boxed<Link>,
    shared: Arc<GateShared>,
}

impl Gate {
    pub(crate) fn new(inner: Boxed<Link>, shared: Arc<GateShared>) -> Gate {
        Gate { inner, shared }
    }
}

impl Transport for Gate {
    type Output = Link;
    type Error = GateError;
    type ListenerUpgrade = BoxFuture<'static, Result<Link, GateError>>;
    type Dial = BoxFuture<'static, Result<Link, GateError>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<GateError>> {
        self.inner.listen_on(id, address).map_err(|e| e.map(GateError::Transport))
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.inner.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, opts: DialOpts) -> Result<Self::Dial, TransportError<GateError>> {
        let Some(expected) = address::pinned(&address) else {
            return Err(TransportError::Other(GateError::Unpinned));
        };
        let as_listener = opts.role.is_listener();
        let link = self.inner.dial(address, opts).map_err(|e| e.map(GateError::Transport))?;
        Ok(contained(self.shared.clone().outbound(expected, as_listener, link)).boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        let shared = &self.shared.clone();
        Pin::new(&mut self.inner).poll(cx).map(|event| {
            event.map_upgrade(|link| contained(shared.clone().inbound(link)).boxed()).map_err(GateError::Transport)
        })
    }
}
