use dogpile::{Region, cached};

static R: Region = Region::new("r");

#[cached(region = R)]
fn f(text: impl ToString) -> String {
    text.to_string()
}

fn main() {}
