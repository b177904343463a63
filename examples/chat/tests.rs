//! The chat in memory: `cargo test --example chat`.

use nexios::testing::{TestClient, TestError, TestSocket};
use serde_json::{Value, json};

fn client() -> TestClient {
    TestClient::new(crate::app("letmein", crate::PAGE)).unwrap()
}

async fn sign_in(client: &TestClient, name: &str, token: &str) -> Result<TestSocket, TestError> {
    let request = client.request(&format!("/chat/general?name={name}"));
    request.subprotocol("bearer").subprotocol(token).connect().await
}

async fn next(socket: &mut TestSocket) -> Value {
    socket.receive_json().await.unwrap()
}

#[tokio::test]
async fn two_people_see_each_other_and_talk() {
    let client = client();
    let mut ann = sign_in(&client, "ann", "letmein").await.unwrap();
    assert_eq!(ann.subprotocol(), Some("bearer"));
    assert_eq!(next(&mut ann).await["people"], json!(["ann"]));
    let mut bob = sign_in(&client, "bob", "letmein").await.unwrap();
    assert_eq!(next(&mut bob).await["people"], json!(["ann", "bob"]));
    assert_eq!(next(&mut ann).await, json!({"type": "joined", "name": "bob"}));
    bob.send_json(&json!({"type": "say", "text": "hi"})).unwrap();
    for socket in [&mut ann, &mut bob] {
        let said = next(socket).await;
        assert_eq!((&said["from"], &said["text"]), (&json!("bob"), &json!("hi")));
    }
    bob.send_json(&json!({"type": "direct", "to": "ann", "text": "psst"})).unwrap();
    assert_eq!(next(&mut ann).await["text"], "psst");
    drop(bob);
    assert_eq!(next(&mut ann).await, json!({"type": "left", "name": "bob"}));
}

#[tokio::test]
async fn a_wrong_token_is_told_by_1008_and_its_reason() {
    let mut socket = sign_in(&client(), "ann", "wrong").await.unwrap();
    assert_eq!(socket.subprotocol(), Some("bearer"));
    assert_eq!(socket.receive_close().await.unwrap(), (1008, "Invalid token".to_owned()));
}

#[tokio::test]
async fn a_flood_is_told_by_1008() {
    let client = client();
    let mut ann = sign_in(&client, "ann", "letmein").await.unwrap();
    for _ in 0..30 {
        ann.send_json(&json!({"type": "typing"})).unwrap();
    }
    next(&mut ann).await;
    assert_eq!(ann.receive_close().await.unwrap(), (1008, "Rate limit exceeded".to_owned()));
}

#[tokio::test]
async fn the_page_is_served() {
    let page = client().get("/").await.unwrap();
    assert_eq!(page.status, 200);
    assert!(String::from_utf8(page.body).unwrap().contains("sign-in-form"));
}

#[tokio::test]
async fn what_is_said_twice_with_one_key_is_said_once() {
    let client = client();
    let mut ann = sign_in(&client, "ann", "letmein").await.unwrap();
    next(&mut ann).await;
    for text in ["first", "again", "last"] {
        let key = if text == "last" { "b" } else { "a" };
        ann.send_json(&json!({"type": "say", "text": text, "key": key})).unwrap();
    }
    let said = [next(&mut ann).await, next(&mut ann).await];
    assert_eq!((&said[0]["text"], &said[1]["text"]), (&json!("first"), &json!("last")));
    let mut bob = sign_in(&client, "bob", "letmein").await.unwrap();
    let history = next(&mut bob).await["history"].clone();
    assert_eq!((history.as_array().unwrap().len(), &history[1]["text"]), (2, &json!("last")));
}

#[tokio::test]
async fn the_page_has_the_client_that_is_in_the_repository() {
    let page = client().get("/nexios.js").await.unwrap();
    assert_eq!(String::from_utf8(page.body).unwrap(), include_str!("../../clients/js/nexios.js"));
}
