//! As much of JSON as it takes to find the members of an object.

/// The members of the object that `text` is: each name, and its value as it is written.
pub(super) fn members(text: &str) -> Result<Vec<(String, &str)>, String> {
    let mut rest = text.trim_start().strip_prefix('{').ok_or("no object: it does not begin with '{'")?.trim_start();
    let mut members = Vec::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return if after.trim().is_empty() { Ok(members) } else { Err(format!("{after:?} follows the object")) };
        }
        let (name, after) = rest.split_at(string_end(rest)?);
        let after = after.trim_start().strip_prefix(':').ok_or_else(|| format!("no ':' after {name}"))?.trim_start();
        let (value, after) = after.split_at(value_end(after)?);
        members.push((string(name)?, value));
        rest = after.trim_start();
        rest = match rest.strip_prefix(',') {
            Some(next) => next.trim_start(),
            None if rest.starts_with('}') => rest,
            None => return Err(format!("no ',' or '}}' after {name}")),
        };
    }
}

/// The text of a string that is written with its quotes.
pub(super) fn string(written: &str) -> Result<String, String> {
    let inner = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let inner = inner.ok_or_else(|| format!("{written} is no string"))?;
    let mut text = String::new();
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.push(match character {
            '\\' => match characters.next() {
                Some(plain @ ('"' | '\\' | '/')) => plain,
                Some('n') => '\n',
                Some('t') => '\t',
                // Names and paths have no others.
                other => return Err(format!("the escape {other:?} of {written} is not known here")),
            },
            plain => plain,
        });
    }
    Ok(text)
}

/// `text` as a string with its quotes.
pub(super) fn text(text: &str) -> String {
    let mut written = String::from('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => written.extend(['\\', character]),
            control if u32::from(control) < 0x20 => written.push_str(&format!("\\u{:04x}", u32::from(control))),
            plain => written.push(plain),
        }
    }
    written.push('"');
    written
}

/// Where the string that `text` begins with ends.
fn string_end(text: &str) -> Result<usize, String> {
    let mut is_escaped = false;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if at == 0 => {}
            _ if at == 0 => break,
            _ if is_escaped => is_escaped = false,
            b'\\' => is_escaped = true,
            b'"' => return Ok(at + 1),
            _ => {}
        }
    }
    Err(format!("no whole string at {:?}", text.chars().take(20).collect::<String>()))
}

/// Where the value that `text` begins with ends.
fn value_end(text: &str) -> Result<usize, String> {
    let mut depth = 0_usize;
    let mut at = 0;
    while let Some(byte) = text.as_bytes().get(at) {
        match byte {
            b'"' => at += string_end(&text[at..])? - 1,
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth > 0 => depth -= 1,
            b',' | b'}' | b']' if depth == 0 => break,
            _ => {}
        }
        at += 1;
        if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
            return Ok(at);
        }
    }
    match text[..at].trim_end().len() {
        end if end > 0 && depth == 0 && at < text.len() => Ok(end),
        _ => Err("a value is missing, or broken off".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_found_as_they_are_written() {
        let written =
            r#" { "cniVersion" : "1.0.0","a":{"b":[1,{"}":"]\"{"}]} , "n": -1.5e3 , "t":true, "e":{} ,"l":[] } "#;
        let found = members(written).unwrap();
        let found: Vec<_> = found.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let wanted = [
            ("cniVersion", r#""1.0.0""#),
            ("a", r#"{"b":[1,{"}":"]\"{"}]}"#),
            ("n", "-1.5e3"),
            ("t", "true"),
            ("e", "{}"),
            ("l", "[]"),
        ];
        assert_eq!(found, wanted);
        assert_eq!(members("{}").unwrap(), []);
    }

    #[test]
    fn what_is_broken_off_or_no_object_is_refused_and_never_panics() {
        let whole = r#"{"a":{"b":["ü\"",1]},"c":"d"}"#;
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            assert!(members(&whole[..end]).is_err(), "{}", &whole[..end]);
        }
        for wrong in
            ["[]", "\"a\"", "{a:1}", "{\"a\"1}", "{\"a\":1 \"b\":2}", "{\"a\":}", "{\"a\":1}x", "{\"a\":1,,}", ""]
        {
            assert!(members(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn strings_there_and_back() {
        for plain in ["", "/run/axle/agent.sock", "a \"b\" \\ c/ü"] {
            assert_eq!(string(&text(plain)).unwrap(), plain);
        }
        assert_eq!(string(r#""a\/b\n""#).unwrap(), "a/b\n");
        assert_eq!(text("a\u{1}"), r#""a\u0001""#);
        assert!(string("7").is_err() && string(r#""\x""#).is_err());
    }
}
