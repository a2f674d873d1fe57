use dogpile::{Region, cached_multi};

static R: Region = Region::new("r");

#[derive(Clone)]
struct User;

#[cached_multi(region = R)]
async fn f(ids: &[u8]) -> Result<Vec<User>, String> {
    Ok(ids.iter().map(|_| User).collect())
}

fn main() {}
