//! What the bridge does not need to understand passes unchanged.

use std::cell::RefCell;

use linchpin_testkit::{Endpoint, Fault};
use proptest::prelude::*;
use proptest::test_runner::{Config as Cases, TestRunner};

use crate::harness::{Client, World};

const JSON: &[(&str, &str)] = &[("content-type", "application/json")];

/// The body of the last POST that the server got.
fn last_body(world: &World) -> String {
    let seen = world.kit.seen();
    let last = seen.iter().rfind(|seen| seen.method == "POST").expect("a POST");
    String::from_utf8(last.body.to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn bridge_ids_stay_what_they_are() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let ids = [
        "1",
        "1.0",
        "\"1\"",
        "12345678901234567890123",
        "-0",
        "1e2",
        "\"\"",
        "\"a\\u0062\\n\\\"ü\"",
        "\"日本\"",
    ];
    for id in ids {
        for sse in ["true", "false"] {
            client.send(id, "tools/call", &format!(r#"{{"name":"echo","arguments":{{"sse":{sse}}}}}"#)).await;
            let answer = client.answer(id).await;
            client.forget(id);
            assert!(answer.0.contains(&format!(r#""id":{id},"#)), "{id}: {}", answer.0);
            assert!(last_body(&world).contains(&format!(r#""id":{id},"#)));
        }
    }
    assert_eq!(world.posts("POST tools/call"), 2 * ids.len() as u64);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_requests_arrive_byte_for_byte() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let deep = format!("{}1{}", "[".repeat(3000), "]".repeat(3000));
    let lines = [
        r#"{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"x":1.0,"y":1e400,"x":"\u00e9\/"}}}"#.to_owned(),
        r#" { "id" : 7 ,"method":"tools/call" , "params":{"arguments":{ },"name":"echo"},"jsonrpc":"2.0","vendor":{"a":[]},"vendor":2} "#.to_owned(),
        r#"{"jsonrpc":"2.0","id":6,"id":7,"method":"ping","method":"tools/call","params":{"name":"echo"}}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{{"name":"echo","arguments":{deep}}}}}"#),
        r#"{"jsonrpc":"2.0","id":7,"method":"vendor/unknown\u0021","params":[1,"<\u2028>"]}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":null}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":7,"method":"ping","params":7}"#.to_owned(),
    ];
    for line in &lines {
        client.send_line(line).await;
        client.answer("7").await;
        assert_eq!(last_body(&world), *line);
    }
    // Windows' line ends are the line's, not the message's.
    client.send_bytes(b"\r\n\n  \n{\"id\":8,\"method\":\"ping\"}\r\n").await;
    client.answer("8").await;
    assert_eq!(last_body(&world).trim_end(), r#"{"id":8,"method":"ping"}"#);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_answers_arrive_byte_for_byte() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let answers = [
        r#"{"jsonrpc":"2.0","id":7,"result":{"n":1.0,"big":123456789012345678901234567890,"e":1e400,"u":"\u00e9\/ü","n":2},"vendor":[ 1 ]}"#,
        r#" {"result":null,"id":7} "#,
        r#"{"id":7,"error":{"code":-1.5,"message":"\u0007","data":{"deep":[[[[]]]]}}}"#,
    ];
    for answer in answers {
        world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, JSON, answer).times(1));
        client.send("7", "tools/call", "{}").await;
        assert_eq!(client.answer("7").await.0, answer.trim_end());
        let events = format!(": hello\r\nevent: message\r\nid: 1\r\ndata:{answer}\r\n\r\n");
        let kind = [("content-type", "text/event-stream; charset=utf-8")];
        world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, &kind, &events).times(1));
        client.send("7", "tools/call", "{}").await;
        assert_eq!(client.answer("7").await.0.trim(), answer.trim());
    }
    client.forget("7");
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_an_answer_over_several_lines_becomes_one() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let pretty = "{\n  \"jsonrpc\": \"2.0\",\r\n  \"id\": 1,\n  \"result\": {\n\t\"a\": \"x\\ny\"\n  }\n}\n";
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, JSON, pretty).times(1));
    client.send("1", "tools/list", "{}").await;
    let line = client.answer("1").await;
    assert_eq!(line.0, pretty.trim_end().replace(['\r', '\n'], " "));
    assert_eq!(line.result()["a"], "x\ny");
    let lines = "data: {\"jsonrpc\":\"2.0\",\ndata: \"id\":2,\"result\"\ndata: :{}}\n\n";
    let kind = [("content-type", "text/event-stream")];
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, &kind, lines).times(1));
    client.send("2", "tools/list", "{}").await;
    assert_eq!(client.answer("2").await.0, r#"{"jsonrpc":"2.0", "id":2,"result" :{}}"#);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_an_answer_whose_id_was_rewritten_is_still_the_answer() {
    // What servers in JavaScript make of such ids. The client gets one answer, not an answer and an error.
    let world = World::new().await;
    let mut client = world.initialized().await;
    for (asked, answered) in
        [("1.0", "1"), ("\"a\\u0062\"", "\"ab\""), ("12345678901234567890123", "1.2345678901234568e+22")]
    {
        for kind in ["application/json", "text/event-stream"] {
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{answered},"result":{{}}}}"#);
            let body =
                if kind == "application/json" { answer.clone() } else { format!("data: {answer}\n\n") };
            world
                .kit
                .fault(Fault::falsify(Endpoint::McpPost, 200, &[("content-type", kind)], &body).times(1));
            let params = "{}";
            client
                .send_line(&format!(
                    r#"{{"jsonrpc":"2.0","id":{asked},"method":"tools/call","params":{params}}}"#
                ))
                .await;
            assert_eq!(client.next_line().await, answer);
        }
    }
    assert!(client.close(&world).await.is_empty(), "nothing but the answers");
}

#[tokio::test]
async fn bridge_a_batch_passes_and_so_do_its_answers() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"x"}, {"id":"2","method":"ping"}]"#;
    let answers = r#"[{"id":"2","result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]"#;
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, JSON, answers).times(1));
    client.send_line(batch).await;
    assert_eq!(client.next_line().await, answers);
    assert_eq!(last_body(&world), batch);

    let kind = [("content-type", "text/event-stream")];
    let events = "data: {\"id\":\"2\",\"result\":{}}\n\ndata: [{\"id\":1,\"result\":{}}]\n\n";
    world.kit.fault(Fault::falsify(Endpoint::McpPost, 200, &kind, events).times(1));
    client.send_line(batch).await;
    assert_eq!(client.next_line().await, r#"{"id":"2","result":{}}"#);
    assert_eq!(client.next_line().await, r#"[{"id":1,"result":{}}]"#);
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_a_batch_that_fails_is_answered_for_each_of_its_requests() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let batch = r#"[{"id":1,"method":"ping"},{"method":"x"},{"id":"2","method":"ping"}]"#;
    world.kit.fault(Fault::status(Endpoint::McpPost, 500).times(1));
    client.owe("1");
    client.owe("\"2\"");
    client.send_line(batch).await;
    for id in ["1", "\"2\""] {
        assert!(client.answer(id).await.error().1.contains("500"), "{id}");
    }
    assert_eq!(world.kit.counts().mcp_requests.len(), 4, "initialize, initialized, GET and the batch");
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn bridge_a_line_that_is_no_message_is_answered_and_the_next_one_works() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    let before = world.kit.seen().len();
    for (line, code) in [
        ("x", -32700),
        ("{\"id\":1,\"method\":\"m\"", -32700),
        ("[1,", -32700),
        ("{}", -32600),
        ("1", -32600),
        ("\"m\"", -32600),
        ("{\"id\":1}", -32600),
        ("{\"id\":1,\"method\":1}", -32600),
    ] {
        client.send_line(line).await;
        let answer: serde_json::Value = serde_json::from_str(&client.next_line().await).expect("JSON");
        assert_eq!(answer["error"]["code"], code, "{line}");
        assert!(answer["id"].is_null(), "{line}");
    }
    client.send_bytes(b"{\"id\":\"\xff\",\"method\":\"ping\"}\n").await;
    assert!(client.next_line().await.contains("-32700"), "not UTF-8");
    assert_eq!(world.kit.seen().len(), before, "nothing of it was sent");
    client.call("echo", "{}").await.text();
    assert!(client.close(&world).await.is_empty());
}

#[tokio::test]
async fn f26_a_last_line_without_its_end_is_a_line() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.owe("9");
    client.send_bytes(br#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"count","arguments":{"nonce":"last"}}}"#).await;
    client.close_input();
    assert_eq!(client.answer("9").await.text(), "last");
    assert_eq!(world.kit.counts().tool_calls["last"], 1);
    client.close(&world).await;
}

#[tokio::test]
async fn f26_a_line_in_pieces_is_one_line() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    client.owe("9");
    for piece in [r#"{"jsonrpc":"2.0","id":9,"#, r#""method":"pi"#, "ng\"}", "\n"] {
        client.send_bytes(piece.as_bytes()).await;
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    client.answer("9").await.result();
    client.close(&world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f26_a_line_of_50_mb_passes_and_one_beyond_the_bound_is_refused() {
    let world = World::new().await;
    let mut client = world.initialized().await;
    // To a method that the test server does not read into.
    let line = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"ping","params":"{}"}}"#, "x".repeat(50 << 20));
    client.owe("1");
    client.send_line(&line).await;
    client.answer("1").await.result();
    assert!(world.kit.seen().iter().any(|seen| seen.body == line), "it arrived as it was");
    let piece = "y".repeat(1 << 20);
    for _ in 0..65 {
        client.send_bytes(piece.as_bytes()).await;
    }
    client.send_line("").await;
    let refused: serde_json::Value = serde_json::from_str(&client.next_line().await).expect("JSON");
    assert_eq!(refused["error"]["code"], -32600);
    client.call("echo", "{}").await.text();
    assert_eq!(world.posts("POST ping"), 1);
    assert!(client.close(&world).await.is_empty());
}

fn json(depth: u32) -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        any::<bool>().prop_map(|flag| flag.to_string()),
        "-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,5})?([eE][+-]?[0-9]{1,2})?",
        string(),
    ];
    leaf.prop_recursive(depth, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            prop::collection::vec((string(), inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> =
                    fields.into_iter().map(|(name, value)| format!("{name} :{value}")).collect();
                format!("{{ {}}}", fields.join(","))
            }),
        ]
    })
}

/// A JSON string as somebody else may have escaped it.
fn string() -> impl Strategy<Value = String> {
    prop::collection::vec(
        prop_oneof![
            4 => "[ -!#-\\[\\]-~]".prop_map(|plain| plain),
            1 => "[\u{a0}-\u{2fff}\u{10000}-\u{10fff}]".prop_map(|wide| wide),
            1 => Just("\\\"".to_owned()),
            1 => Just("\\\\".to_owned()),
            1 => Just("\\/".to_owned()),
            1 => "\\\\[bfnrt]".prop_map(|escape| escape),
            1 => "\\\\u00[0-9a-f]{2}".prop_map(|escape| escape),
            1 => Just("\\ud83d\\ude00".to_owned()),
        ],
        0..12,
    )
    .prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn id() -> impl Strategy<Value = String> {
    prop_oneof!["-?(0|[1-9][0-9]{0,25})(\\.[0-9]{1,3})?", string()]
}

#[test]
fn bridge_random_messages_make_the_round_trip_byte_for_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let world = runtime.block_on(World::new());
    let client = RefCell::new(runtime.block_on(world.initialized()));
    let cases = Cases { cases: 200, failure_persistence: None, ..Cases::default() };
    let strategy = (id(), json(4), string(), json(2), any::<bool>());
    let outcome = TestRunner::new(cases).run(&strategy, |(id, arguments, name, value, sse)| {
        // Fields that nobody knows, on both levels; what the server answers with is in the arguments.
        let arguments = format!(r#"{{ "sse" : {sse},"a":{arguments}}}"#);
        let line = format!(
            r#"{{"params":{{"x":{value}, "arguments":{arguments},"name":"echo"}},"x-{}:{value},"id":{id},"method":"tools/call","jsonrpc":"2.0"}}"#,
            name.strip_prefix('"').expect("a quoted name"),
        );
        let answer = runtime.block_on(round_trip(&mut client.borrow_mut(), &line));
        prop_assert_eq!(last_body(&world), line);
        let json: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
        prop_assert_eq!(json["result"]["content"][0]["text"].as_str(), Some(arguments.as_str()));
        let id = format!(r#""id":{id},"#);
        prop_assert!(answer.contains(&id));
        Ok(())
    });
    let rest = runtime.block_on(client.into_inner().close(&world));
    assert!(rest.is_empty(), "one answer each: {rest:?}");
    outcome.expect("byte for byte");
}

async fn round_trip(client: &mut Client, line: &str) -> String {
    client.send_line(line).await;
    client.next_line().await
}
