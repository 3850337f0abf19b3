//! `tempest serve` from the outside: what it answers, what it refuses, and how it ends.

#![cfg(all(unix, feature = "serve"))]

mod common;

use common::{fail, succeed, tempest, tiny_run};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A server with the built-in model, ended with the test.
struct Server {
    child: Child,
    address: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.body))
    }
}

impl Server {
    fn start(options: &[&str]) -> Server {
        Server::of(&[&["--model", "built-in"], options].concat())
    }

    fn of(options: &[&str]) -> Server {
        let mut command = tempest(["serve", "--listen", "127.0.0.1:0"]);
        let mut child = command.args(options).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("http://").unwrap_or_else(|| panic!("{line:?}")).to_owned();
        Server { child, address }
    }

    /// Sends a request and leaves the answer to be read.
    fn send(&self, method: &str, path: &str, headers: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        // No test waits longer for a byte.
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let host = if headers.contains("host:") { String::new() } else { format!("host: {}\r\n", self.address) };
        let length = body.len();
        let head =
            format!("{method} {path} HTTP/1.1\r\n{host}connection: close\r\ncontent-length: {length}\r\n{headers}\r\n");
        // A server that refuses by the head alone may not read the body.
        let _ = stream.write_all((head + body).as_bytes());
        stream
    }

    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> Answer {
        read(self.send(method, path, headers, body))
    }

    fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, JSON, &body.to_string())
    }

    fn text(&self, body: &Value) -> Value {
        let answer = self.post("/api/generate", body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["texts"][0].clone()
    }

    fn figure(&self, name: &str) -> f64 {
        let figures = self.ask("GET", "/metrics", "", "").body;
        let line = figures.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name}: {figures}")).parse().unwrap()
    }

    fn wait_for(&self, name: &str, value: f64) {
        let began = Instant::now();
        while self.figure(name) != value {
            assert!(began.elapsed() < Duration::from_secs(60), "{name} is {}", self.figure(name));
        }
    }

    /// Asks for a text that takes long, which is being written when this returns.
    fn keep_busy(&self) -> TcpStream {
        let before = self.figure("tempest_connections");
        let stream = self.send("POST", "/api/generate", JSON, &LONG.to_string());
        // Its own and that of the question.
        while self.figure("tempest_connections") < before + 1.0 || self.figure("tempest_waiting_texts") > 0.0 {}
        stream
    }
}

const JSON: &str = "content-type: application/json\r\n";

/// Some thirty windows of 128 steps each: more than a minute.
static LONG: std::sync::LazyLock<Value> = std::sync::LazyLock::new(|| json!({ "length": 4096 }));

fn read(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = if head.contains("transfer-encoding: chunked") { unchunked(body) } else { body.to_owned() };
    Answer { status, head: head.to_owned(), body }
}

fn unchunked(mut rest: &str) -> String {
    let mut body = String::new();
    while let Some((length, behind)) = rest.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body += &behind[..length];
        rest = &behind[length + 2..];
    }
    body
}

fn documented() -> Value {
    serde_json::from_str(include_str!("../src/serve/openapi.json")).unwrap()
}

/// What of a value a schema of the file does not allow.
fn wrong(file: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(name) = schema["$ref"].as_str() {
        return wrong(file, file.pointer(&name[1..]).unwrap_or_else(|| panic!("{name}")), value, at);
    }
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let allowed = |name: &Value| name == kind || name == "number" && kind == "integer";
    let mut found = Vec::new();
    let fits = match &schema["type"] {
        Value::Array(names) => names.iter().any(allowed),
        name => allowed(name),
    };
    if !fits || schema["enum"].as_array().is_some_and(|values| !values.contains(value)) {
        found.push(format!("{at}: {value} is no {schema}"));
    }
    for item in value.as_array().into_iter().flatten() {
        found.extend(wrong(file, &schema["items"], item, &format!("{at}[]")));
    }
    let properties = schema["properties"].as_object().cloned().unwrap_or_default();
    for (name, value) in value.as_object().into_iter().flatten() {
        match properties.get(name) {
            Some(schema) => found.extend(wrong(file, schema, value, &format!("{at}.{name}"))),
            None if schema["additionalProperties"] == false => found.push(format!("{at}.{name} is not documented")),
            None => {}
        }
    }
    for name in schema["required"].as_array().into_iter().flatten().filter(|_| value.is_object()) {
        if value.get(name.as_str().unwrap()).is_none() {
            found.push(format!("{at}.{name} is missing"));
        }
    }
    found
}

#[test]
fn the_openapi_file_says_what_the_server_does() {
    let (file, server) = (documented(), Server::start(&[]));
    assert_eq!(server.ask("GET", "/api/openapi.json", "", "").json(), file);
    let check = |answer: &Answer, responses: &Value, what: &str| {
        let content = &responses[answer.status.to_string()]["content"];
        let kind = answer.head.lines().find_map(|line| line.strip_prefix("content-type: ")).unwrap();
        let schema = &content[kind.split(';').next().unwrap()]["schema"];
        assert!(schema.is_object(), "{what}: {} {kind} is not documented", answer.status);
        if kind == "application/json" {
            assert_eq!(wrong(&file, schema, &answer.json(), what), [""; 0], "{}", answer.body);
        }
    };
    let paths = file["paths"].as_object().unwrap();
    for (path, methods) in paths {
        for method in ["GET", "POST", "PUT", "DELETE"] {
            let operation = &methods[method.to_lowercase()];
            let responses = &operation["responses"];
            let request = &operation["requestBody"]["content"]["application/json"];
            let answer = server.ask(method, path, JSON, &request["example"].to_string());
            if operation.is_null() {
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(answer.head.contains("allow: "), "{}", answer.head);
                continue;
            }
            assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
            check(&answer, responses, path);
            check(&server.ask(method, path, "host: example.com\r\n", ""), responses, path);
            if request.is_null() {
                continue;
            }
            check(&server.ask(method, path, JSON, "{"), responses, path);
            check(&server.ask(method, path, "", "{}"), responses, path);
            check(&server.ask(method, path, JSON, &" ".repeat((1 << 20) + 1)), responses, path);
            // Which fields there are.
            let mut unknown = request["example"].clone();
            unknown["unheard-of"] = true.into();
            let refused = server.post(path, &unknown);
            check(&refused, responses, path);
            let error = &refused.json()["error"];
            assert_eq!(error["field"], "unheard-of");
            let mut known: Vec<&str> = error["wanted"].as_str().unwrap()["one of ".len()..].split(", ").collect();
            known.sort_unstable();
            let schema = file.pointer(&request["schema"]["$ref"].as_str().unwrap()[1..]).unwrap();
            let mut names: Vec<&str> = schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
            names.sort_unstable();
            assert_eq!(known, names, "{path}");
        }
    }
    let missing = server.ask("GET", "/api/elsewhere", "", "");
    assert_eq!(missing.status, 404);
    let listed = missing.json()["error"]["message"].as_str().unwrap().split_once("one of ").unwrap().1.to_owned();
    let mut listed: Vec<&str> = listed.split(", ").collect();
    listed.sort_unstable();
    let mut names: Vec<&str> = paths.keys().map(String::as_str).collect();
    names.sort_unstable();
    assert_eq!(listed, names);
}

#[test]
fn what_cannot_be_done_is_refused_with_a_reason() {
    let server = Server::start(&["--most-texts", "4", "--most-tokens", "200"]);
    let long = "x".repeat(200);
    let cases = [
        ("generate", json!({ "temperature": -1 }), "temperature: found -1; wanted 0 or a finite number above it"),
        ("generate", json!({ "temperature": "hot" }), "temperature: found \"hot\"; wanted 0 or"),
        ("generate", json!({ "top_p": 0 }), "top_p: found 0; wanted a number above 0 and at most 1"),
        ("generate", json!({ "min_p": 2 }), "min_p: found 2; wanted a number from 0 to 1"),
        ("generate", json!({ "top_symbols": 0 }), "top_symbols: found 0; wanted a whole number from 1"),
        ("generate", json!({ "texts": 5 }), "texts: found 5; wanted a whole number from 1 to 4"),
        ("generate", json!({ "length": 201 }), "length: found 201; wanted a whole number from 1 to 200"),
        ("generate", json!({ "seed": -1 }), "seed: found -1; wanted a whole number from 0"),
        ("generate", json!({ "first": 4294967295_u32 }), "first: found 4294967295; wanted"),
        ("generate", json!({ "sampler": "best" }), "sampler: found \"best\"; wanted threshold, top-k"),
        ("generate", json!({ "sampler": "top-k:0" }), "sampler: found \"top-k:0\"; wanted at least 1 token a step"),
        ("generate", json!({ "sampler": "ancestral:4097" }), "sampler: found 4097 steps; wanted at most 4096"),
        ("generate", json!({ "prompt": "a", "guidance": 101 }), "guidance: found 101; wanted 0 (none) to 100"),
        ("generate", json!({ "guidance": 1 }), "guidance: found 1; wanted 0: nothing is given"),
        ("generate", json!({ "resample": 0 }), "resample: found 0; wanted a whole number from 1 to 64"),
        ("generate", json!({ "resample": 2 }), "resample: found 2; wanted 1: what this model writes has no noise"),
        ("gaps", json!({ "text": "a_", "resample": 2 }), "resample: found 2; wanted 1"),
        ("generate", json!({ "as": "ar" }), "as: found \"ar\"; wanted masked"),
        ("generate", json!({ "stop": "" }), "stop: found \"\"; wanted some characters"),
        ("generate", json!({ "prompt": "\u{fc}" }), "prompt, line 1, column 1: \"\u{fc}\" (U+00FC) is not in"),
        ("generate", json!({ "prompt": "abc", "length": 3 }), "prompt: found 3 tokens; wanted fewer than the 3"),
        ("fill", json!({}), "template: found nothing; wanted a string with holes"),
        ("fill", json!({ "template": "whole" }), "template: found \"whole\"; wanted \"_\" for every token"),
        ("fill", json!({ "template": "_", "hole": "ab" }), "hole: found \"ab\"; wanted one character"),
        ("fill", json!({ "template": format!("{long}_") }), "template: found 201 tokens; wanted at most 128"),
        ("score", json!({ "text": "" }), "text: found 0 tokens; wanted 1 to 128"),
        ("score", json!({ "text": "a", "sampler": "ancestral" }), "sampler: found ancestral; wanted"),
        ("score", json!({ "text": "a", "temperature": 0 }), "temperature: found 0; wanted a finite number above 0"),
        ("score", json!({ "text": "a", "measure": "most" }), "measure: found \"most\"; wanted exact or bound"),
        (
            "score",
            json!({ "text": "a", "draws": 8 }),
            "draws: found one; wanted none: an exact likelihood draws no noise",
        ),
        (
            "score",
            json!({ "text": "a", "measure": "bound", "draws": 1025 }),
            "draws: found 1025; wanted a whole number from 2",
        ),
        (
            "score",
            json!({ "text": "a", "measure": "bound", "sampler": "top-k:1" }),
            "sampler: found one; wanted none: a bound",
        ),
        ("generate", json!({ "sampler": "ddim:8" }), "sampler: found ddim:8; wanted one that replaces masks"),
        ("gaps", json!({ "text": "a_", "sampler": "ddim:8" }), "sampler: found ddim:8; wanted one that replaces masks"),
        (
            "gaps",
            json!({ "text": "a_", "sampler": "ancestral:4097" }),
            "sampler: found 4097 steps; wanted at most 4096",
        ),
        ("gaps", json!({ "text": "whole" }), "a text without a gap; put '_' where"),
        ("gaps", json!({ "text": "_* _* _* _* _*" }), "text: found 5 gaps of unknown length; wanted at most 4"),
        ("gaps", json!({ "text": "_*", "longest": 33 }), "longest: found 33; wanted a whole number from 1 to 32"),
        ("repair", json!({ "text": "" }), "text: found 0 bytes; wanted 1 to 200"),
        ("repair", json!({ "text": "a", "lines": "some" }), "lines: found \"some\"; wanted kept or free"),
        ("score", json!([]), "the body is []; wanted a JSON object"),
    ];
    for (route, body, wanted) in cases {
        let answer = server.post(&format!("/api/{route}"), &body);
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(answer.status == 400 && message.starts_with(wanted), "{body}: {} {message}", answer.status);
        // What an option of the command line would cure is none here.
        assert!(!message.contains("--"), "{message}");
    }
    let status = |headers: &str, body: &str| server.ask("POST", "/api/generate", headers, body).status;
    assert_eq!(status("content-type: text/plain\r\n", "{}"), 415);
    assert_eq!(status(&format!("{JSON}host: 10.0.0.1\r\n"), "{}"), 403, "a name bent to this machine");
    assert_eq!(status(&format!("{JSON}origin: http://example.com\r\n"), "{}"), 403, "another page");
    let own = format!("{JSON}origin: http://{}\r\n", server.address);
    assert_eq!(status(&own, "{"), 400, "its own page");
    let events = server.ask("POST", "/api/score", &format!("{JSON}accept: text/event-stream\r\n"), r#"{"text":"a"}"#);
    assert_eq!(events.status, 406, "{}", events.body);
    // No HTTP at all.
    let mut stream = TcpStream::connect(&server.address).unwrap();
    stream.write_all(b"\x16\x03\x01 hello\r\n\r\n").unwrap();
    assert_eq!(read(stream).status, 400);
    assert_eq!(server.ask("GET", "/healthz", "", "").json(), json!({ "status": "ok" }));
}

#[test]
fn a_token_is_wanted_where_one_was_set() {
    let open = fail(&mut tempest(["serve", "--model", "built-in", "--listen", "0.0.0.0:0"]), 2);
    assert!(open.contains("no token keeps them out; give --token"), "{open}");
    let short = fail(tempest(["serve", "--model", "built-in"]).env("TEMPEST_TOKEN", "short"), 2);
    assert!(short.contains("8 or more printed ASCII characters") && !short.contains("short"), "{short}");

    let server = Server::start(&["--token", "open-sesame"]);
    let status = |path: &str, headers: &str| server.ask("GET", path, headers, "").status;
    assert_eq!(status("/healthz", ""), 200);
    assert_eq!(status("/", ""), 200, "the page asks for the token");
    for path in ["/metrics", "/api/model", "/api/openapi.json", "/elsewhere"] {
        for shown in ["", "open-sesam", "open-sesame2", "Open-sesame"] {
            let answer = server.ask("GET", path, &format!("authorization: Bearer {shown}\r\n"), "");
            assert_eq!(answer.status, 401, "{path} {shown}");
            assert!(answer.head.contains("www-authenticate: Bearer"), "{}", answer.head);
        }
        assert_eq!(status(path, ""), 401, "{path}");
        assert_ne!(status(path, "authorization: Bearer open-sesame\r\n"), 401, "{path}");
    }
}

#[test]
fn a_text_is_the_same_alone_and_beside_those_of_others() {
    let server = Server::start(&["--batch", "8"]);
    let busy = server.keep_busy();
    // Requests that differ in all that a batch may differ in.
    let how = [
        json!({ "sampler": "top-k:4", "temperature": 0 }),
        json!({ "sampler": "ancestral:6", "temperature": 1 }),
        json!({ "sampler": "threshold:0.5", "temperature": 0.8, "top_p": 0.9, "prompt": "KING:" }),
        json!({ "sampler": "entropy-bounded:1", "temperature": 0.5, "top_symbols": 5, "prompt": "To be" }),
        json!({ "sampler": "remdm-cap:0.1:6", "temperature": 1, "min_p": 0.1 }),
    ];
    let asked = |how: &Value, more: Value| {
        let mut body = how.clone();
        body["length"] = 24.into();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let together: Vec<Value> = thread::scope(|scope| {
        let askers: Vec<_> = how.iter().map(|how| scope.spawn(|| server.text(&asked(how, json!({}))))).collect();
        server.wait_for("tempest_waiting_texts", 5.0);
        // Its place is free as soon as it goes.
        drop(busy);
        askers.into_iter().map(|asker| asker.join().unwrap()).collect()
    });
    assert_eq!(server.figure("tempest_batches_given_up_total"), 1.0);
    assert_eq!(server.figure("tempest_batch_texts_count"), 2.0, "one given up, and one of five");
    for (how, text) in how.iter().zip(&together) {
        let which = json!({ "seed": text["seed"], "first": text["number"] });
        assert_eq!(*text, server.text(&asked(how, which)), "{how}");
    }
    // And the one that the command writes.
    let (seed, number) = (together[1]["seed"].to_string(), together[1]["number"].to_string());
    let mut command = tempest(["sample", "--model", "built-in", "--json", "--length", "24", "--temperature", "1"]);
    let said = succeed(command.args(["--sampler", "ancestral:6", "--seed", &seed, "--first", &number])).stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!([&said["text"], &said["committed_at"]], [&together[1]["text"], &together[1]["committed_at"]]);
}

#[test]
fn frames_lead_to_the_text() {
    let server = Server::start(&[]);
    let body = json!({ "template": "To be ________ to be", "texts": 2, "seed": 3, "sampler": "top-k:3" });
    let whole = server.post("/api/fill", &body).json()["texts"].clone();
    let told = server.ask("POST", "/api/fill", &format!("{JSON}accept: text/event-stream\r\n"), &body.to_string());
    assert!(told.head.contains("content-type: text/event-stream"), "{}", told.head);
    let events: Vec<(&str, Value)> = told
        .body
        .split("\n\n")
        .filter(|event| !event.is_empty())
        .map(|event| {
            let (name, data) = event.split_once('\n').unwrap();
            (name.strip_prefix("event: ").unwrap(), serde_json::from_str(data.strip_prefix("data: ").unwrap()).unwrap())
        })
        .collect();
    assert_eq!(events.last().unwrap(), &("done", json!({})));
    let schema = json!({ "$ref": "#/components/schemas/Frame" });
    for index in [0, 1] {
        let of = |wanted: &str| -> Vec<&Value> {
            events
                .iter()
                .filter(|(name, data)| *name == wanted && data["index"] == index)
                .map(|(_, data)| data)
                .collect()
        };
        let (frames, texts) = (of("frame"), of("text"));
        assert_eq!(texts, [&whole[index]], "streamed or not, it is the same text");
        let masked = |frame: &Value| frame["pieces"].as_array().unwrap().iter().filter_map(Value::as_u64).sum::<u64>();
        assert_eq!(frames.iter().map(|frame| masked(frame)).collect::<Vec<_>>(), [5, 2, 0]);
        for frame in &frames {
            assert_eq!(wrong(&documented(), &schema, frame, "frame"), [""; 0]);
        }
        assert_eq!(frames[2]["pieces"], json!([whole[index]["text"]]));
    }
}

#[test]
fn a_repair_says_what_it_replaced() {
    let server = Server::start(&[]);
    let (text, most) = ("KIN@ RICHARD III:\nWhat xs thxt, my lord?\n", json!({ "least": 0.05, "sure": 0.0 }));
    let repair = |text: &str, more: &Value| {
        let mut body = more.clone();
        body["text"] = text.into();
        let answer = server.post("/api/repair", &body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()
    };
    let found = repair(text, &most);
    let edits = found["edits"].as_array().unwrap();
    assert!(!edits.is_empty(), "{found}");
    let mut wanted: Vec<char> = text.chars().collect();
    for edit in edits {
        let at = edit["at"].as_u64().unwrap() as usize;
        let [from, to] = ["from", "to"].map(|key| edit[key].as_str().unwrap().chars().next().unwrap());
        assert_eq!(wanted[at], from, "{edit}");
        wanted[at] = to;
    }
    assert_eq!(found["text"], wanted.iter().collect::<String>());
    let untouched = repair(text, &json!({ "least": 0 }));
    assert_eq!(untouched, json!({ "text": text, "edits": [] }));
}

#[test]
fn gaps_of_unknown_length_are_filled_as_the_command_fills_them() {
    let server = Server::start(&[]);
    let text = "What is the _* of my ____?";
    let body = json!({ "text": text, "longest": 5, "tries": 2, "candidates": 3, "mean": 4, "seed": 7 });
    let together: Vec<Value> = std::thread::scope(|scope| {
        let ask = || server.post("/api/gaps", &body).json()["candidates"].clone();
        let asking = [scope.spawn(ask), scope.spawn(ask)];
        asking.map(|asking| asking.join().unwrap()).into()
    });
    let mut command = tempest(["fill", "--model", "built-in", "--json", "--longest", "5", "--tries", "2", "-n", "3"]);
    let said = succeed(command.args(["--prior", "geometric:4", "--seed", "7", text])).stdout;
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!(said["candidates"].as_array().map(Vec::len), Some(3));
    assert!(together.iter().all(|found| *found == said["candidates"]), "{together:?} {said}");
}

#[test]
fn a_likelihood_is_that_of_eval() {
    let server = Server::start(&[]);
    let score = |text: &str, prompt: &str| {
        let answer = server.post("/api/score", &json!({ "text": text, "prompt": prompt, "sampler": "top-k:4" }));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["nats"].as_f64().unwrap()
    };
    // The order goes by what is given: only without a prompt does a whole text cost what its window does in `eval`.
    let text: String = tempest::data::TINY_SHAKESPEARE.chars().take(128).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("text.txt");
    std::fs::write(&file, &text).unwrap();
    let mut eval = tempest(["eval", "--model", "built-in", "--json", "--split", "all", "--data"]);
    eval.arg(&file).args(["--windows", "1", "--passes", "1", "--duel", "top-k:4", "--duel-windows", "1"]);
    let report: Value = serde_json::from_slice(&succeed(&mut eval).stdout).unwrap();
    let per_token = report["duel"][0]["nats"].as_f64().unwrap();
    let nats = score(&text, "");
    // Of the same sum in f32, one of 128 tokens divided in f64.
    assert!((nats - 128.0 * per_token).abs() <= 1e-6 * nats, "{nats} and {}", 128.0 * per_token);
    assert!(score("or not to be", "To be ") < score("xq not zo bk", "To be "));
}

#[test]
fn a_model_of_blocks_measures_whole_ones() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(tempest(tiny_run(&run, 20)).args(["--process", "block", "--block-length", "8"]));
    let server = Server::of(&["--run", &run.display().to_string()]);
    let score = |text: &str| server.post("/api/score", &json!({ "prompt": "To be ", "text": text }));
    let refused = score("or not").json()["error"]["message"].clone();
    assert_eq!(refused, "text: found 12 tokens with the prompt; wanted whole blocks of 8 tokens, as this model writes");
    let found = score("or not to.").json();
    assert_eq!([&found["tokens"], &found["steps"]], [10, 10], "{found}");
}

#[test]
fn a_bound_is_of_its_seed_alone_and_of_models_that_have_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    succeed(tempest(tiny_run(&run, 20)).args(["--process", "uniform"]));
    let servers =
        [Server::of(&["--run", &run.display().to_string(), "--batch", "3"]), Server::start(&["--batch", "8"])];
    for (server, process) in servers.iter().zip(["uniform", "masked"]) {
        let body = json!({ "text": "or not to be", "measure": "bound", "draws": 16, "seed": 5 });
        let together: Vec<Value> = thread::scope(|scope| {
            let ask = || server.post("/api/score", &body).json();
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            asking.into_iter().map(|asking| asking.join().unwrap()).collect()
        });
        let first = &together[0];
        assert!(together.iter().all(|found| found == first), "{together:?}");
        let schema = json!({ "$ref": "#/components/schemas/Likelihood" });
        assert_eq!(wrong(&documented(), &schema, first, process), [""; 0], "{first}");
        assert_eq!([&first["measure"], &first["draws"], &first["seed"]], [&json!("bound"), &json!(16), &json!(5)]);
        assert!(first["nats"].as_f64() > Some(0.0) && first["standard_error"].as_f64() > Some(0.0), "{first}");
    }
    let [uniform, masked] = &servers;
    let score = |server: &Server, body: Value| server.post("/api/score", &body).json();
    assert_eq!(score(uniform, json!({ "text": "a" }))["measure"], "bound");
    assert_eq!(score(masked, json!({ "text": "a" }))["measure"], "exact");
    let refused = |route: &str, body: Value| {
        let answer = uniform.post(route, &body);
        assert_eq!(answer.status, 400, "{}", answer.body);
        answer.json()["error"]["message"].as_str().unwrap().to_owned()
    };
    assert!(refused("/api/score", json!({ "text": "a", "prompt": "b" })).contains("found 1 given tokens"));
    let exact = refused("/api/score", json!({ "text": "a", "measure": "exact" }));
    assert_eq!(exact, "measure: found exact; wanted bound: this model has no exact likelihood");
    let sampler = refused("/api/gaps", json!({ "text": "a_", "sampler": "top-k:1" }));
    assert!(sampler.contains("wanted ancestral:STEPS"), "{sampler}");
    let steps = refused("/api/gaps", json!({ "text": "a_", "sampler": "ancestral:100", "resample": 64 }));
    assert_eq!(steps, "resample: found 6400 steps; wanted at most 4096");
}

#[test]
fn who_finds_the_queue_full_is_told_when_to_ask_again() {
    let server = Server::start(&["--queue", "2", "--most-texts", "2"]);
    let busy = server.keep_busy();
    let two = json!({ "texts": 2, "length": 8 });
    let waits = server.send("POST", "/api/generate", JSON, &two.to_string());
    server.wait_for("tempest_waiting_texts", 2.0);
    let full = server.post("/api/generate", &json!({ "length": 8 }));
    assert_eq!(full.status, 503);
    assert!(full.json()["error"]["message"].as_str().unwrap().starts_with("2 texts wait already"), "{}", full.body);
    let after = full.head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=60).contains(&after.parse::<u32>().unwrap()), "{after}");
    // Who goes away makes room.
    drop(waits);
    server.wait_for("tempest_waiting_texts", 0.0);
    let waits = server.send("POST", "/api/generate", JSON, &two.to_string());
    server.wait_for("tempest_waiting_texts", 2.0);
    drop(busy);
    assert_eq!(read(waits).json()["texts"].as_array().unwrap().len(), 2);
}

#[test]
fn what_takes_too_long_ends() {
    let server = Server::start(&["--deadline", "1"]);
    let (plain, told) = (JSON.to_owned(), format!("{JSON}accept: text/event-stream\r\n"));
    let late = server.ask("POST", "/api/generate", &plain, &LONG.to_string());
    assert_eq!(late.status, 503, "{}", late.body);
    assert!(late.head.contains("retry-after: "), "{}", late.head);
    let told = server.ask("POST", "/api/generate", &told, &LONG.to_string());
    let last = told.body.trim_end().rsplit("\n\n").next().unwrap().to_owned();
    assert!(last.starts_with("event: error\ndata: {\"error\":") && last.contains("it takes longer than 1s"), "{last}");
    // A machine that is busy elsewhere may make even this one late.
    let short = || server.post("/api/generate", &json!({ "length": 8, "sampler": "top-k:8" }));
    let text = (0..60).map(|_| short()).find(|answer| answer.status == 200).expect("it writes on");
    assert_eq!(text.json()["texts"][0]["tokens"].as_array().unwrap().len(), 8);
    assert!(server.figure("tempest_batches_given_up_total") >= 2.0, "nothing is computed for nobody");
}

#[test]
fn asked_to_stop_it_finishes_what_was_asked_for() {
    for signal in ["TERM", "INT"] {
        common::let_signals_end_children();
        let mut server = Server::start(&["--batch", "1"]);
        // Two texts one after another, a second or so.
        let body = json!({ "texts": 2, "length": 128, "sampler": "first-hitting" });
        let stream = server.send("POST", "/api/generate", JSON, &body.to_string());
        server.wait_for("tempest_waiting_texts", 1.0);
        assert!(Command::new("kill").args(["-s", signal, &server.child.id().to_string()]).status().unwrap().success());
        assert_eq!(read(stream).json()["texts"].as_array().unwrap().len(), 2, "SIG{signal}");
        assert_eq!(server.child.wait().unwrap().code(), Some(0), "SIG{signal}");
        assert!(TcpStream::connect(&server.address).is_err(), "it accepts no more");
    }
}
