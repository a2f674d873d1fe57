//! Which statements the steps of the story run.

use dogpile_example_people::story;

#[tokio::test]
async fn each_step_runs_what_it_should() {
    let steps = story().await.unwrap();
    let tables = |statements: &[String]| -> Vec<String> {
        let words = |statement: &String| {
            let words: Vec<&str> = statement.split_whitespace().collect();
            let place = words.iter().position(|word| ["FROM", "UPDATE"].contains(word));
            format!("{} {}", words[0], words[place.unwrap() + 1])
        };
        statements.iter().map(words).collect()
    };
    let ran: Vec<(&str, Vec<String>)> =
        steps.iter().map(|step| (&*step.outcome, tables(&step.statements))).collect();
    let select = |tables: &[&str]| -> Vec<String> {
        tables.iter().map(|table| format!("SELECT {table}")).collect()
    };
    let none = Vec::new;
    assert_eq!(
        ran,
        [
            ("10 people", select(&["people"])),
            ("10 people", none()),
            ("5 people", select(&["people"])),
            (
                "1 Main Street, 10007 Montreal, Canada",
                select(&["addresses", "postal_codes", "cities", "countries"])
            ),
            ("20 addresses", none()),
            ("20 people", select(&["people"])),
            ("40 addresses", select(&["addresses"])),
            ("person 01", vec!["UPDATE people".to_owned(), "SELECT people".to_owned()]),
            ("person 01", none()),
            ("somebody else", select(&["people"])),
            ("1 Main Street, 10007 Montreal, Canada", none()),
            ("1 Side Street, 10007 Montreal, Canada", select(&["addresses"])),
            ("true", none()),
            ("false", none()),
            ("true", none()),
            ("region `default`", none()),
        ]
    );
    assert!(steps[6].statements[0].contains("20") && !steps[6].statements[0].contains("(1,"));
}
