//! Specs in requests: the V1 format, as YAML or as JSON.

use super::input::Input;
use super::problem::Problem;
use http::StatusCode;
use orlop_model::spec::Deployment;

/// How the body is called in messages.
const NAME: &str = "spec";

/// Reads the body, which must be the spec of the deployment that the path names.
pub(super) fn read(input: &Input) -> Result<Deployment, Problem> {
    let deployment = if input.yaml { parse(&input.body)? } else { parse_json(&input.body)? };
    let named = input.text("deployment");
    if deployment.name.as_str() == named {
        return Ok(deployment);
    }
    let detail = format!("deployment: found {:?}; the path says {named:?}", deployment.name.as_str());
    let remedy = "send the spec to the path of its own deployment";
    Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "other_deployment", detail, remedy))
}

fn parse(body: &[u8]) -> Result<Deployment, Problem> {
    orlop_spec::parse_bytes(NAME, body).map_err(|problems| Problem::spec(&problems))
}

/// YAML holds JSON, so one reader finds all mistakes, with their lines. But YAML is more than JSON, and differs in which
/// characters are written how.
fn parse_json(body: &[u8]) -> Result<Deployment, Problem> {
    if let Err(error) = serde_json::from_slice::<serde::de::IgnoredAny>(body) {
        let detail = format!("the body is not JSON: {error}");
        return Err(Problem::bad_request("invalid_body", detail, "send JSON, or say application/yaml for YAML"));
    }
    // It is UTF-8, or it would not be JSON.
    parse(for_yaml(&String::from_utf8_lossy(body)).as_bytes())
}

/// Writes JSON's characters as YAML wants them: `\ud83d\ude00`, which YAML takes for two characters that are none, as the
/// character that it stands for; and those as escapes that YAML has in no other form.
fn for_yaml(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut rest = json.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match pair(rest.as_str()) {
                Some(whole) => {
                    out.push(whole);
                    rest = rest.as_str()[PAIR - 1..].chars();
                }
                // What is escaped is no backslash that begins an escape.
                None => out.extend(['\\'].into_iter().chain(rest.next())),
            },
            '\u{7f}'..='\u{84}' | '\u{86}'..='\u{9f}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            c => out.push(c),
        }
    }
    out
}

const PAIR: usize = r"\ud83d\ude00".len();

/// The character that two escapes stand for together, seen from behind the first backslash.
fn pair(text: &str) -> Option<char> {
    let high = text.get(..5)?.strip_prefix('u')?;
    let low = text.get(5..PAIR - 1)?.strip_prefix(r"\u")?;
    let units = [u16::from_str_radix(high, 16).ok()?, u16::from_str_radix(low, 16).ok()?];
    let whole = char::decode_utf16(units).next()?.ok()?;
    (whole.len_utf16() == 2).then_some(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use orlop_model::spec::EnvValue;

    fn env(value: &str) -> String {
        let text = format!(
            r#"{{"version": "v1", "deployment": "shop", "services": {{"api": {{"image": {{"name": "registry.example/a/api:1"}},
                "rtype": "service", "env": {{"A": {value}}}}}}}}}"#
        );
        let deployment = parse_json(text.as_bytes()).expect("a spec");
        let service = deployment.services.values().next().expect("a service");
        match &service.workload.env["A"] {
            EnvValue::Literal(text) => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn json_says_the_same_to_the_reader_of_yaml() {
        for text in [
            "plain",
            "😀",
            "a\\b",
            "\\ud83d",
            "\"",
            "tab\there",
            "/",
            "é\\",
            "\u{7f}",
            "{}",
            "# no",
            "- x",
            ": y",
            "\u{80}\u{fffe}\u{ffff}",
            "\u{feff}",
            "\u{85}\u{2028}",
        ] {
            let ascii: String = serde_json::to_string(text).expect("JSON");
            let escaped: String = ascii
                .chars()
                .map(|c| {
                    if c.is_ascii() {
                        c.to_string()
                    } else {
                        c.encode_utf16(&mut [0; 2]).iter().map(|u| format!("\\u{u:04x}")).collect()
                    }
                })
                .collect();
            assert_eq!(env(&ascii), text);
            assert_eq!(env(&escaped), text, "{escaped}");
        }
        assert_eq!(env(r#""\/ \u002f""#), "/ /");
    }

    #[test]
    fn yaml_is_not_taken_for_json() {
        let problem = parse_json(b"version: v1\n").map_err(|problem| problem.into_response().status());
        assert_eq!(problem, Err(StatusCode::BAD_REQUEST));
    }
}
