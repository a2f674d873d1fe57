use dogpile::{Region, cached};

static R: Region = Region::new("r");

struct Pool;

#[cached(region = R, background, skip(pool))]
async fn f(pool: &Pool, n: u8) -> u8 {
    let _ = pool;
    n
}

fn main() {}
