//! Echoes every message on `/` and `/echo`: text as text, binary as binary.
//!
//! `cargo run --release --example echo -- --listen 127.0.0.1:9001`
//!
//! The same in Python:
//!
//! ```python
//! @ws_router.ws("/echo")
//! async def echo(ws):
//!     await ws.accept()
//!     ws.enable_compression()
//!     async for message in ws:
//!         await ws.send(message)
//! ```

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use nexios::{App, Compression, Serve, Tls, WebSocket};

#[derive(Parser)]
#[command(about = "A WebSocket server that echoes every message")]
struct Args {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:9001")]
    listen: String,
    /// Listen on this Unix socket instead.
    #[arg(long)]
    uds: Option<PathBuf>,
    /// Largest message in bytes.
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20)]
    max_message: usize,
    /// Most fragments of a message.
    #[arg(long, value_name = "N", default_value_t = 1024)]
    max_fragments: u32,
    /// Threads; one per core if not given.
    #[arg(long, value_name = "N")]
    shards: Option<usize>,
    /// PEM files of a certificate chain and its key.
    #[arg(long, num_args = 2, value_names = ["CERT", "KEY"])]
    tls: Option<Vec<PathBuf>>,
    /// How compression is negotiated.
    #[arg(long, value_enum, default_value_t = CompressionArg::NoTakeover)]
    compression: CompressionArg,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum CompressionArg {
    /// Each message on its own: an idle connection holds no window.
    NoTakeover,
    /// Messages build on each other: smaller, at some 150 KiB for each connection.
    Takeover,
    /// Declined.
    Off,
}

async fn echo(ws: WebSocket) -> nexios::Result {
    ws.accept().await?;
    ws.enable_compression();
    loop {
        let message = ws.receive().await?;
        ws.send(message).await?;
    }
}

fn main() -> Result<(), nexios::StartError> {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let args = Args::parse();
    let compression = (args.compression != CompressionArg::Off).then(|| Compression {
        context_takeover: args.compression == CompressionArg::Takeover,
        ..Compression::default()
    });
    let app = App::new().ws("/", echo).ws("/echo", echo).settings(move |settings| {
        settings.message_bytes_max = Some(args.max_message);
        settings.fragments_max = Some(args.max_fragments);
        settings.compression = compression;
    });
    let mut serve = match &args.uds {
        Some(path) => Serve::unix(path),
        None => Serve::tcp(&args.listen),
    };
    if let Some([certificate, key]) = args.tls.as_deref() {
        serve = serve.tls(Tls::files(certificate, key));
    }
    if let Some(shards) = args.shards {
        serve = serve.shards(shards);
    }
    app.run(serve.on_listen(move |addresses| {
        let tcp = addresses.iter().map(ToString::to_string);
        let unix = args.uds.iter().map(|path| path.display().to_string());
        tcp.chain(unix).for_each(|address| println!("echo on {address}"));
    }))
}
