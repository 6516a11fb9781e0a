//! Prints the description of the admin API: `cargo run -p exeat-console --example openapi > console/openapi.json`.

use std::io::Write as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let text = exeat_console::openapi()?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}
