use axle_proto::v1::{AddClusterRequest, ListRequest};

use super::*;

fn codes<T>(result: Result<T, Refusal>) -> String {
    match result {
        Ok(_) => "taken".into(),
        Err(refusal) => format!("{refusal:?}"),
    }
}

#[test]
fn good_bodies_and_queries_are_taken() {
    let body: AddClusterRequest =
        read_json(br#"{"name":"eu1","labels":{"a":"b"},"prefixes":["10.1.0.0/16"]}"#).unwrap();
    assert_eq!((body.name.as_str(), body.labels.len(), body.prefixes.len()), ("eu1", 1, 1));
    let query: ListRequest = read_query("cluster=eu1&limit=7").unwrap();
    assert_eq!((query.cluster.as_str(), query.limit), ("eu1", 7));
}

#[test]
fn every_wrong_field_is_named_with_a_suggestion() {
    let wrong = read_json::<AddClusterRequest>(br#"{"nmae":"a","prefixes":"b","region":1}"#).unwrap_err();
    let text = format!("{wrong:?}");
    for expected in ["unknown_field", "did you mean \\\"name\\\"?", "wrong_type", "an array", "a text"] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(codes(read_query::<ListRequest>("limt=1")).contains("did you mean \\\"limit\\\"?"));
    assert!(codes(read_query::<ListRequest>("limit=-1")).contains("a whole number"));
    assert!(codes(read_query::<ListRequest>("limit=1&limit=2")).contains("each parameter once"));
    assert!(codes(read_query::<ListRequest>("limit=4294967296")).contains("wrong_type"));
}

#[test]
fn what_is_no_json_object_is_malformed() {
    let deep = format!("{}{}", "{\"labels\":".repeat(400), "1");
    for body in [
        "",
        "{",
        "[]",
        "nonsense",
        "{} {}",
        "{\"name\":\"a\",\"name\":\"b\"}",
        "{\"labels\":{\"a\":\"1\",\"a\":\"2\"}}",
        &deep,
    ] {
        assert!(codes(read_json::<AddClusterRequest>(body.as_bytes())).contains("malformed_body"), "{body:.60}");
    }
    assert!(codes(read_json::<AddClusterRequest>(b"{\n  \"name\": }")).contains("line 2 column"));
}
