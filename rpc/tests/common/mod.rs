//! A node that is none, a server in front of it, and the plainest of HTTP clients.
#![allow(dead_code, reason = "every test file uses its own part of this")]

use futures::{Stream, StreamExt, stream};
use holm_rpc::{Backend, Client, Credential, Lagged, LogStream, ServerConfig, serve};
use holm_types::{
    Label, NodeId, TaskId, Wall,
    api::{ApiError, Page, Request, TaskRow},
    event::{Event, EventKind},
    view::TaskState,
};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{broadcast, mpsc, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

pub const TOKEN: [u8; 32] = [0x5a; 32];

pub fn token() -> String {
    "5a".repeat(32)
}

pub fn credential() -> Credential {
    Credential::generate(TOKEN)
}

pub fn label(text: &str) -> Label {
    text.parse().expect("a name")
}

pub fn task(text: &str) -> TaskId {
    text.parse().expect("a task id")
}

pub fn event(detail: &str) -> Event {
    Event { at: Wall(1), node: label("n1"), kind: EventKind::Started, app: None, task: None, detail: detail.into() }
}

type Line = Result<String, ApiError>;

/// A node that answers what the test tells it to, and remembers what it was asked.
pub struct Fake {
    pub asked: Mutex<Vec<Request>>,
    pub answer: Mutex<Result<Value, ApiError>>,
    pub tasks: Mutex<Vec<TaskRow>>,
    pub ready: AtomicBool,
    pub recent: Mutex<Vec<Event>>,
    pub events: broadcast::Sender<Event>,
    pub logs: Mutex<BTreeMap<(TaskId, LogStream), mpsc::Receiver<Line>>>,
    /// While false, calls wait.
    pub open: watch::Sender<bool>,
    pub running: watch::Sender<usize>,
    pub most_running: AtomicUsize,
}

impl Default for Fake {
    fn default() -> Fake {
        Fake {
            asked: Mutex::default(),
            answer: Mutex::new(Ok(json!("done"))),
            tasks: Mutex::default(),
            ready: AtomicBool::new(true),
            recent: Mutex::default(),
            events: broadcast::channel(4).0,
            logs: Mutex::default(),
            open: watch::channel(true).0,
            running: watch::channel(0).0,
            most_running: AtomicUsize::new(0),
        }
    }
}

impl Fake {
    pub fn answers(&self, answer: Result<Value, ApiError>) {
        *self.answer.lock().expect("unpoisoned") = answer;
    }

    pub fn take_asked(&self) -> Vec<Request> {
        std::mem::take(&mut self.asked.lock().expect("unpoisoned"))
    }

    /// An output of a task, which the test writes.
    pub fn log(&self, id: &str, output: LogStream) -> mpsc::Sender<Line> {
        let (sender, receiver) = mpsc::channel(1024);
        self.logs.lock().expect("unpoisoned").insert((task(id), output), receiver);
        sender
    }

    pub fn has_task(&self, id: &str) {
        let row = TaskRow {
            id: task(id),
            app: label("web"),
            namespace: label("default"),
            slot: 0,
            attempt: 1,
            epoch: 1,
            node: label("n1"),
            node_id: NodeId([0; 32]),
            site: label("s1"),
            state: TaskState::Running,
            pid: None,
            restarts: 0,
            started_at: None,
            reason: String::new(),
        };
        self.tasks.lock().expect("unpoisoned").push(row);
    }
}

impl Backend for Fake {
    async fn call(&self, request: Request) -> Result<Value, ApiError> {
        let listed = matches!(request, Request::TaskList(_));
        self.asked.lock().expect("unpoisoned").push(request);
        self.running.send_modify(|running| *running += 1);
        self.most_running.fetch_max(*self.running.borrow(), SeqCst);
        self.open.subscribe().wait_for(|open| *open).await.expect("the gate is there");
        self.running.send_modify(|running| *running -= 1);
        let tasks = self.tasks.lock().expect("unpoisoned").clone();
        if listed && !tasks.is_empty() {
            return Ok(json!(Page { items: tasks, next: None }));
        }
        self.answer.lock().expect("unpoisoned").clone()
    }

    fn ready(&self) -> bool {
        self.ready.load(SeqCst)
    }

    fn metrics(&self) -> String {
        "# TYPE holm_tasks gauge\nholm_tasks 3".into()
    }

    fn events(&self) -> impl Stream<Item = Result<Event, Lagged>> + Send + 'static {
        let receiver = self.events.subscribe();
        stream::unfold(receiver, |mut receiver| async move {
            match receiver.recv().await {
                Ok(event) => Some((Ok(event), receiver)),
                Err(broadcast::error::RecvError::Lagged(n)) => Some((Err(Lagged(n)), receiver)),
                Err(broadcast::error::RecvError::Closed) => None,
            }
        })
    }

    fn recent_events(&self) -> Vec<Event> {
        self.recent.lock().expect("unpoisoned").clone()
    }

    fn logs(&self, id: TaskId, output: LogStream, _follow: bool) -> impl Stream<Item = Line> + Send + 'static {
        match self.logs.lock().expect("unpoisoned").remove(&(id.clone(), output)) {
            Some(lines) => received(lines).left_stream(),
            None => stream::iter([Err(ApiError::NotFound(format!("no log of {id} here")))]).right_stream(),
        }
    }
}

fn received<T>(receiver: mpsc::Receiver<T>) -> impl Stream<Item = T> {
    stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

/// A running server.
pub struct Node {
    pub address: SocketAddr,
    pub fake: Arc<Fake>,
    pub stop: CancellationToken,
    pub tasks: JoinSet<()>,
}

impl Node {
    pub async fn start() -> Node {
        Node::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut ServerConfig)) -> Node {
        let mut config = ServerConfig::new("127.0.0.1:0".parse().expect("an address"), credential());
        change(&mut config);
        let (fake, stop, mut tasks) = (Arc::new(Fake::default()), CancellationToken::new(), JoinSet::new());
        let address = serve(config, Arc::clone(&fake), &mut tasks, stop.clone()).await.expect("listens");
        Node { address, fake, stop, tasks }
    }

    pub async fn client(&self) -> Client {
        Client::connect(&format!("http://{}", self.address), &credential()).await.expect("connected")
    }

    /// Sends bytes as they are, reads all that comes back until the server closes.
    pub async fn raw(&self, bytes: &[u8]) -> Answer {
        let mut socket = TcpStream::connect(self.address).await.expect("connected");
        socket.write_all(bytes).await.expect("sent");
        Answer::read(&mut socket).await
    }

    pub async fn raw_bytes(&self, bytes: &[u8]) -> Vec<u8> {
        let mut socket = TcpStream::connect(self.address).await.expect("connected");
        socket.write_all(bytes).await.expect("sent");
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.expect("an answer");
        answer
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.raw(format!("GET {path} HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").as_bytes()).await
    }

    /// Posts a body to `/rpc` with the right credential.
    pub async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        self.post_as(Some(&format!("Bearer {}", token())), body).await
    }

    pub async fn post_as(&self, authorization: Option<&str>, body: impl AsRef<[u8]>) -> Answer {
        let body = body.as_ref();
        let authorization = authorization.map(|value| format!("authorization: {value}\r\n")).unwrap_or_default();
        let head = format!(
            "POST /rpc HTTP/1.1\r\nhost: node\r\nconnection: close\r\n{authorization}content-length: {}\r\n\r\n",
            body.len()
        );
        self.raw(&[head.as_bytes(), body].concat()).await
    }

    /// Calls a method over HTTP: its answer without the envelope.
    pub async fn call(&self, method: &str, params: Value) -> Result<Value, Value> {
        let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.post(request.to_string()).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let body = answer.json();
        match body.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(body["result"].clone()),
        }
    }
}

/// What an HTTP server said.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    pub async fn read(socket: &mut TcpStream) -> Answer {
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.expect("an answer");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status");
        Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}
