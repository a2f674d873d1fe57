//! Prints the story. `cargo run -p dogpile-example-people`

use dogpile_example_people::story;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    for step in story().await? {
        println!("{}: {}", step.what, step.outcome);
        for statement in &step.statements {
            println!("    {statement}");
        }
        if step.statements.is_empty() {
            println!("    (no SQL)");
        }
    }
    Ok(())
}
