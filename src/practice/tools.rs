//! Whether a request makes the practice upstream call a tool, and with which arguments.
//!
//! It calls the first tool when the choice forces one, or when the last message is the user's and
//! holds the word "tool"; a tool's result is always answered with text, so that loops end.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use super::answer::Ask;

/// A call of a tool.
pub struct Call {
    /// The tool's name.
    pub name: String,
    /// Arguments that fit its schema.
    pub arguments: Value,
}

/// The call that this request asks for; nothing when text is the answer.
pub fn wanted(ask: &Ask<'_>) -> Option<Call> {
    let tools = parsed(ask.body.tools)?;
    let choice = parsed(ask.body.tool_choice).unwrap_or(Value::Null);
    let said = || last_words(ask).is_some_and(|words| words.to_lowercase().contains("tool"));
    match Choice::read(&choice) {
        Choice::Never => None,
        Choice::Named(name) => call(&tools, Some(&name)),
        Choice::Any => call(&tools, None),
        Choice::Auto if said() => call(&tools, None),
        Choice::Auto => None,
    }
}

fn parsed(raw: Option<&RawValue>) -> Option<Value> {
    serde_json::from_str(raw?.get()).ok()
}

enum Choice {
    Never,
    Auto,
    Any,
    Named(String),
}

impl Choice {
    /// `"required"`, `{"type": "any"}`, `{"type": "function", "function": {"name"}}`,
    /// `{"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": []}}`.
    fn read(choice: &Value) -> Choice {
        let gemini = choice
            .get("functionCallingConfig")
            .or_else(|| choice.get("function_calling_config"));
        let choice = gemini.unwrap_or(choice);
        let name = choice.pointer("/function/name").or_else(|| choice.get("name"));
        if let Some(name) = name.and_then(Value::as_str) {
            return Choice::Named(name.to_owned());
        }
        let word = choice
            .as_str()
            .or_else(|| choice.get("type")?.as_str())
            .or_else(|| choice.get("mode")?.as_str());
        match word.unwrap_or("auto").to_lowercase().as_str() {
            "none" => Choice::Never,
            "required" | "any" => Choice::Any,
            _ => Choice::Auto,
        }
    }
}

fn call(tools: &Value, wanted: Option<&str>) -> Option<Call> {
    let named = |tool: &Value| {
        let inner = tool.get("function").unwrap_or(tool);
        let name = inner.get("name")?.as_str()?.to_owned();
        let schema = [
            "parameters",
            "input_schema",
            "parametersJsonSchema",
            "parameters_json_schema",
        ]
        .iter()
        .find_map(|field| inner.get(*field));
        Some((name, schema.cloned().unwrap_or(Value::Null)))
    };
    let declared = |tool: &Value| {
        tool.get("functionDeclarations")
            .or_else(|| tool.get("function_declarations"))
            .cloned()
    };
    let flat = tools.as_array()?.iter().flat_map(|tool| match declared(tool) {
        Some(Value::Array(declarations)) => declarations,
        _ => vec![tool.clone()],
    });
    let (name, schema) = flat
        .filter_map(|tool| named(&tool))
        .find(|(name, _)| wanted.is_none_or(|wanted| wanted == name))?;
    Some(Call {
        name,
        arguments: arguments(&schema),
    })
}

/// An object with a value for every property of the schema.
fn arguments(schema: &Value) -> Value {
    let properties = schema.get("properties").and_then(Value::as_object);
    let filled = |(name, schema): (&String, &Value)| (name.clone(), example(schema));
    Value::Object(properties.map_or_else(Map::new, |properties| properties.iter().map(filled).collect()))
}

fn example(schema: &Value) -> Value {
    if let Some(first) = schema.pointer("/enum/0") {
        return first.clone();
    }
    let kind = schema
        .get("type")
        .and_then(|kind| kind.as_str().or_else(|| kind.get(0)?.as_str()));
    match kind.unwrap_or("string").to_lowercase().as_str() {
        "integer" | "number" => json!(1),
        "boolean" => json!(true),
        "array" => json!([]),
        "object" => arguments(schema),
        "null" => Value::Null,
        _ => json!("word1"),
    }
}

/// What the user said last, if the user spoke last.
fn last_words(ask: &Ask<'_>) -> Option<String> {
    let all = parsed(ask.body.messages.or(ask.body.input).or(ask.body.contents))?;
    if let Some(text) = all.as_str() {
        return Some(text.to_owned());
    }
    let last = all.as_array()?.last()?;
    let by_user = last.get("role").and_then(Value::as_str).unwrap_or("user") == "user";
    let is_result = last
        .get("type")
        .and_then(Value::as_str)
        .is_some_and(|kind| kind.ends_with("_output"));
    if !by_user || is_result {
        return None;
    }
    match last.get("content").or_else(|| last.get("parts"))? {
        Value::String(text) => Some(text.clone()),
        Value::Array(parts) => {
            let result = |part: &Value| {
                part.get("type").and_then(Value::as_str) == Some("tool_result")
                    || part.get("functionResponse").is_some()
                    || part.get("function_response").is_some()
            };
            if parts.iter().any(result) {
                return None;
            }
            Some(
                parts
                    .iter()
                    .filter_map(|part| part.get("text")?.as_str())
                    .collect(),
            )
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_fit_the_schema() {
        let schema = json!({"type": "object", "properties": {
            "city": {"type": "string"}, "days": {"type": "INTEGER"}, "unit": {"enum": ["c", "f"]},
            "deep": {"type": ["object", "null"], "properties": {"on": {"type": "boolean"}}}}});
        let wanted = json!({"city": "word1", "days": 1, "unit": "c", "deep": {"on": true}});
        assert_eq!(arguments(&schema), wanted);
        assert_eq!(arguments(&Value::Null), json!({}));
    }
}
