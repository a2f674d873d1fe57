use dogpile::{Region, cached};

static R: Region = Region::new("r");

struct Connection;

#[cached(region = R)]
fn f(connection: &Connection, n: u8) -> u8 {
    let _ = connection;
    n
}

fn main() {}
