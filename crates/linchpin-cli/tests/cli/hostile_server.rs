//! An MCP server that sends more than anybody can take (F25): bounds hold, memory too, and the next request is served.

use std::io;
use std::time::Instant;

use linchpin_testkit::process::StdioServer;
use serde_json::{Value, json};

use crate::machine_faults::Shim;
use crate::raw::{Raw, Wire};
use crate::world::{PATIENCE, World};

const SSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
const GIB: u64 = 1 << 30;

/// A server without sign-in that opens sessions, and whose tools are these.
fn server(tools: impl Fn(&Value, &mut Wire) -> io::Result<()> + Clone + Send + 'static) -> Raw {
    Raw::serving(move |request, wire| {
        if !request.starts_with("POST") {
            return wire.answer(405, &[], "");
        }
        let body = request.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let message: Value = serde_json::from_str(body).unwrap_or_default();
        let result =
            |result: Value| json!({ "jsonrpc": "2.0", "id": message["id"], "result": result }).to_string();
        match message["method"].as_str() {
            Some("initialize") => {
                let result =
                    result(json!({ "protocolVersion": "2025-11-25", "capabilities": { "tools": {} },
                    "serverInfo": { "name": "hostile", "version": "0" } }));
                wire.answer(200, &[("content-type", "application/json")], &result)
            }
            Some("tools/call" | "tools/list") => tools(&message, wire),
            Some(_) if message.get("id").is_some() => {
                let error = json!({ "jsonrpc": "2.0", "id": message["id"],
                    "error": { "code": -32601, "message": "no such method" } });
                wire.answer(200, &[("content-type", "application/json")], &error.to_string())
            }
            _ => wire.answer(202, &[], ""),
        }
    })
}

fn tool(message: &Value) -> &str {
    message["params"]["name"].as_str().unwrap_or_default()
}

fn event(value: &Value) -> Vec<u8> {
    format!("data: {value}\n\n").into_bytes()
}

/// Answers `echo` in the end, whatever came before.
fn done(message: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": message["id"], "result": { "content": [{ "type": "text", "text": "done" }] } })
}

async fn bridge(world: &World, server: &Raw) -> StdioServer {
    let mut command = world.command(&["bridge", &format!("{}/mcp", server.origin)]);
    command.env_remove("LINCHPIN_LOG");
    let bridge = StdioServer::start(command).expect("started");
    let answer = bridge.initialize(PATIENCE).await.expect("answered");
    assert!(answer.get("result").is_some(), "{answer}");
    bridge
}

#[tokio::test]
async fn f25_an_event_of_a_gigabyte_and_a_stream_without_end_take_bounded_memory() {
    const MANY: usize = 20_000;
    let server = server(|message, wire| match tool(message) {
        "gigabyte" => {
            wire.write(SSE)?;
            wire.write(b"data: ")?;
            for _ in 0..GIB / (16 << 10) {
                wire.write(&[b'x'; 16 << 10])?;
            }
            wire.write(b"\n\n")
        }
        "gigabyte of JSON" => {
            wire.write(
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {GIB}\r\n\r\n\""
                )
                .as_bytes(),
            )?;
            loop {
                wire.write(&[b'x'; 16 << 10])?;
            }
        }
        "many" => {
            wire.write(SSE)?;
            let progress = json!({ "jsonrpc": "2.0", "method": "notifications/message", "params": { "level": "info", "data": "x".repeat(64) } });
            let hundred = event(&progress).repeat(100);
            for _ in 0..MANY / 100 {
                wire.write(&hundred)?;
            }
            wire.write(&event(&done(message)))
        }
        _ => wire.answer(200, &[("content-type", "application/json")], &done(message).to_string()),
    });
    let world = World::new();
    let bridge = bridge(&world, &server).await;
    let peak = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", bridge.pid().expect("it runs")));
        let status = status.expect("readable");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("on Linux");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse().ok()).expect("a number")
    };
    assert_eq!(bridge.call("echo", json!({}), PATIENCE).await.expect("answered"), Ok("done".to_owned()));
    let calm = peak();
    for (what, most_mib, outcome) in [
        // 20,000 notifications pass, and are read, one after the other.
        ("many", 8, Ok("done")),
        ("gigabyte", 80, Err("longer than")),
        ("gigabyte of JSON", 200, Err("longer than")),
        ("many", 200, Ok("done")),
        ("echo", 200, Ok("done")),
    ] {
        let (before, begun) = (server.written(), Instant::now());
        let answer = bridge.call(what, json!({}), PATIENCE).await.expect("answered");
        match (outcome, &answer) {
            (Ok(wanted), Ok(text)) => assert_eq!(wanted, text),
            (Err(_), Err(_)) => {}
            other => panic!("{what}: {other:?}"),
        }
        let (read, more) = (server.written() - before, peak().saturating_sub(calm) >> 10);
        println!(
            "f25: {what}: {}; {} MiB sent to us in {} ms, {more} MiB more memory at its peak than for a plain call",
            answer.as_ref().map_or_else(|error| format!("the error \"{error}\""), |_| "answered".to_owned()),
            read >> 20,
            begun.elapsed().as_millis()
        );
        assert!(more <= most_mib, "{what}: {more} MiB");
        assert!(read < 160 << 20, "{what}: {read} bytes");
    }
    drop(bridge);
}

#[tokio::test]
async fn f25_a_million_tools_are_an_error_in_bounded_memory() {
    const TOOL: &str = r#"{"name":"t","inputSchema":{"type":"object"}},"#;
    let pages = |tools: usize, size: usize| {
        server(move |message, wire| {
            let page: usize =
                message["params"]["cursor"].as_str().and_then(|at| at.parse().ok()).unwrap_or(0);
            let next = if (page + 1) * size < tools {
                format!(",\"nextCursor\":\"{}\"", page + 1)
            } else {
                String::new()
            };
            let list = TOOL.repeat(size);
            let body = format!(
                "{{\"jsonrpc\":\"2.0\",\"id\":{},\"result\":{{\"tools\":[{}]{next}}}}}",
                message["id"],
                list.trim_end_matches(',')
            );
            wire.answer(200, &[("content-type", "application/json")], &body)
        })
    };
    for (what, size) in [("in one page", 1_000_000), ("in pages of 1,000", 1_000)] {
        let server = pages(1_000_000, size);
        let world = World::new();
        let Some(shim) = Shim::of(&world) else { return };
        let url = format!("{}/mcp", server.origin);
        let mut command = shim.under(world.command(&["tools", &url]));
        command.env_remove("LINCHPIN_LOG").stdin(std::process::Stdio::null());
        let ran = world.finish(command).await;
        println!(
            "f25: a million tools {what}: exit {}, {} MiB sent to us, {} MiB resident at the peak: {}",
            ran.code,
            server.written() >> 20,
            shim.peak_mib(),
            ran.stderr.trim_end()
        );
        assert!(ran.code != 0 && server.written() > 500_000, "{what}: {ran:?}");
        assert!(ran.one_line_error().len() < 300, "{what}");
        assert!(shim.peak_mib() < 200, "{what}: {} MiB", shim.peak_mib());
    }
}
