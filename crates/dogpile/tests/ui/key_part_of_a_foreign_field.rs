use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[derive(dogpile::key::KeyPart)]
struct Page {
    command: std::process::Command,
}

#[cached(region = R)]
fn f(page: Page) -> u8 {
    let _ = page.command;
    1
}

fn main() {}
