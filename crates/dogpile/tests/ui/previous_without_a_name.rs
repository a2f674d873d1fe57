use dogpile::{Region, cached};

static REGION: Region = Region::new("r");

#[cached(region = REGION, previous)]
fn load(id: u32, known: Option<u32>) -> u32 {
    known.unwrap_or(id)
}

fn main() {}
