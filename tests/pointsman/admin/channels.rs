//! `/api/channels`

use super::{call, problem};
use crate::stage::Stage;
use crate::upstream::works;
use reqwest::Method;
use serde_json::{Value, json};

on_each_database! {
    async fn a_channel_lives_from_post_to_delete(kind: Kind) {
        let stage = Stage::new(kind).await;
        let made = stage
            .admin_answer(Method::POST, "/api/channels", json!({
                "name": " first ", "provider": "openai", "base_url": "https://one.test/v1", "priority": 10, "weight": 5,
                "tag": "eu", "key_mode": "polling", "model_mapping": {"gpt-4o": "gpt-4o-2024"},
                "header_override": {"X-Team": "a", "User-Agent": null}, "param_override": {"user": "x", "seed": null},
                "settings": {"timeouts": {"connect": 2.5}, "max_in_flight": 7, "protocols": ["openai"]},
                "test_model": "gpt-4o", "auto_disable": false, "remark": "two\nlines é 😀",
                "keys": ["sk-secret-one", "sk-secret-two", "sk-secret-one "], "groups": ["default", "vip", "vip "],
                "models": ["gpt-4o", "GPT-4o", "a/b"],
            }))
            .await
            .expect(201);
        let place = made.header("location").expect("a location").to_owned();
        let channel = made.json();
        assert_eq!(place, format!("/api/channels/{}", channel["id"]));
        assert!(!made.text().contains("sk-secret"), "{made:?}");
        assert_eq!(channel["keys"], json!({"enabled": 2, "disabled": 0, "auto_disabled": 0}));
        assert_eq!(channel["name"], "first");
        assert_eq!(channel["groups"], json!(["default", "vip"]));
        assert_eq!(channel["settings"], json!({"timeouts": {"connect": 2.5}, "max_in_flight": 7, "protocols": ["openai"]}));
        assert_eq!(channel["remark"], "two\nlines é 😀");
        assert_eq!(channel["routing"], "in_place");
        let at = channel["created_at"].as_str().expect("a time");
        assert!(at.ends_with('Z') && at.contains('T'), "{at}");

        let got = call(&stage, Method::GET, &place, Value::Null, 200).await;
        for (field, value) in got.as_object().expect("an object") {
            assert_eq!(&channel[field], value, "{field}");
        }

        let patched = call(&stage, Method::PATCH, &place, json!({
            "name": "renamed", "tag": null, "remark": null, "settings": null, "weight": 0, "models": ["gpt-4o"],
        }), 200).await;
        assert_eq!((&patched["name"], &patched["tag"], &patched["remark"]), (&json!("renamed"), &Value::Null, &Value::Null));
        assert_eq!((&patched["settings"], &patched["weight"]), (&json!({}), &json!(0)));
        assert_eq!((&patched["models"], &patched["groups"]), (&json!(["gpt-4o"]), &json!(["default", "vip"])));
        assert_eq!((&patched["priority"], &patched["base_url"]), (&json!(10), &json!("https://one.test/v1")));

        stage.admin_answer(Method::DELETE, &place, Value::Null).await.expect(204);
        stage.admin_answer(Method::DELETE, &place, Value::Null).await.expect(204);
        stage.admin_answer(Method::DELETE, "/api/channels/999", Value::Null).await.expect(404);
        problem(&stage.admin_answer(Method::GET, &place, Value::Null).await, 404, "not_found");
        assert_eq!(stage.routing().await["counts"]["channels"], 0);
        stage.log().assert_without("sk-secret");
    }

    async fn lists_are_filtered_sorted_and_paged(kind: Kind) {
        let stage = Stage::new(kind)
            .channel("alpha", works().with("tag", "eu").priority(1))
            .channel("beta_x", works().groups(&["vip"]).priority(3))
            .channel("Beta", works().provider("anthropic").models(&["claude"]).with("status", "disabled").priority(2))
            .await;
        let names = async |query: &str| {
            let list = call(&stage, Method::GET, &format!("/api/channels?{query}"), Value::Null, 200).await;
            let names = list["items"].as_array().expect("items").iter().map(|item| item["name"].as_str().expect("a name").to_owned());
            (names.collect::<Vec<_>>().join(" "), list["total"].as_u64().expect("a total"))
        };
        let check = async |query: &str, wanted: &str, total: u64| {
            assert_eq!(names(query).await, (wanted.to_owned(), total), "{query}");
        };
        check("", "alpha beta_x Beta", 3).await;
        check("group=vip", "beta_x", 1).await;
        check("model=gpt-4o", "alpha beta_x", 2).await;
        check("model=GPT-4o", "", 0).await;
        check("status=disabled", "Beta", 1).await;
        check("tag=eu&provider=openai", "alpha", 1).await;
        check("provider=anthropic", "Beta", 1).await;
        check("q=lph", "alpha", 1).await;
        check("q=%25", "", 0).await;
        check("q=_", "beta_x", 1).await;
        check("sort=-priority", "beta_x Beta alpha", 3).await;
        check("sort=priority&page_size=2", "alpha Beta", 3).await;
        check("sort=priority&page_size=2&page=2", "beta_x", 3).await;
        check("page=99999999999999999", "", 3).await;
    }
}
