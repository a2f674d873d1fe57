//! A process of a [fleet](dogpile_servers::fleet), over any built-in backend.

fn main() {
    dogpile_servers::fleet::worker();
}
