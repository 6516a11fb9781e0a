//! The caller's side of the tests: plans, and a gate that says where each connection was meant to go.

use std::{
    ffi::OsString,
    fs::File,
    io::{PipeReader, Read as _, pipe},
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
};

use exeat_sandbox::{Access, BUNDLE, Listeners, Plan, Resolver, Sandbox, Streams};
use tokio::{io::AsyncWriteExt as _, net::TcpListener, runtime::Builder, sync::Notify};

/// This program.
pub(crate) fn me() -> String {
    std::env::current_exe()
        .unwrap()
        .into_os_string()
        .into_string()
        .unwrap()
}

/// A plan that runs a program in `/tmp`, its output going nowhere.
pub(crate) fn plan(program: &str, arguments: &[&str]) -> Plan {
    let null = || {
        File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .unwrap()
            .into()
    };
    let argv = std::iter::once(&program)
        .chain(arguments)
        .map(OsString::from)
        .collect();
    Plan {
        argv,
        env: vec![("PATH".into(), "/usr/bin:/bin:/usr/sbin:/sbin".into())],
        hide: Vec::new(),
        access: Access {
            home: None,
            project: "/tmp".into(),
            write: Vec::new(),
            keep: Vec::new(),
        },
        workdir: "/tmp".into(),
        exe: "/proc/self/exe".into(),
        streams: Streams {
            stdin: null(),
            stdout: null(),
            stderr: null(),
        },
    }
}

/// The same plan with its output in a pipe.
pub(crate) fn piped(mut plan: Plan) -> (PipeReader, Plan) {
    let (reader, writer) = pipe().unwrap();
    plan.streams.stdout = writer.into();
    (reader, plan)
}

/// What a sealed command wrote, and how it ended.
pub(crate) struct Sealed {
    pub(crate) text: String,
    pub(crate) code: i32,
}

impl Sealed {
    pub(crate) fn run(plan: Plan) -> Self {
        Self::run_with(plan, Vec::new())
    }

    pub(crate) fn run_with(plan: Plan, env: Vec<(OsString, OsString)>) -> Self {
        let (mut reader, plan) = piped(plan);
        let (listeners, prepared) = Sandbox::start(plan).unwrap();
        let done = Arc::new(Notify::new());
        let (gate_done, files) = (
            Arc::clone(&done),
            vec![
                (PathBuf::from("/run/exeat/ca.pem"), b"CA\n".to_vec()),
                (PathBuf::from(BUNDLE), b"ROOTS\n".to_vec()),
            ],
        );
        let gate = std::thread::spawn(move || serve(listeners, &gate_done));
        let running = prepared.go(env, files).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        let code = running.wait().unwrap();
        done.notify_one();
        gate.join().unwrap();
        Self { text, code }
    }
}

/// Seals this program in another role.
pub(crate) fn seal(arguments: &[&str]) -> Sealed {
    seal_with(&me(), arguments)
}

/// Seals a program.
pub(crate) fn seal_with(program: &str, arguments: &[&str]) -> Sealed {
    Sealed::run(plan(program, arguments))
}

/// The role `run`: a caller of its own, with its own streams; `probe` stands for this program.
pub(crate) fn run_and_wait(words: &[&str]) -> ExitCode {
    let (program, arguments) = match words {
        ["probe", ..] => (me(), words),
        [program, arguments @ ..] => ((*program).to_owned(), arguments),
        [] => return ExitCode::FAILURE,
    };
    let mut plan = plan(&program, arguments);
    plan.streams = Streams::inherit().unwrap();
    let (_listeners, prepared) = Sandbox::start(plan).unwrap();
    let code = prepared.go(Vec::new(), Vec::new()).unwrap().wait().unwrap();
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

fn serve(listeners: Listeners, done: &Notify) {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let resolver =
            Resolver::new(|host| host.name().is_some_and(|name| name.ends_with(".example")));
        let Listeners {
            explicit,
            http,
            https,
            dns_udp,
            dns_tcp,
        } = listeners;
        let [http, http_v6] = <[_; 2]>::try_from(http).unwrap();
        let [https, https_v6] = <[_; 2]>::try_from(https).unwrap();
        tokio::select! {
            () = done.notified() => {}
            _ = resolver.serve_udp(dns_udp) => {}
            _ = resolver.serve_tcp(dns_tcp) => {}
            () = say_where(explicit, &resolver) => {}
            () = say_where(http, &resolver) => {}
            () = say_where(http_v6, &resolver) => {}
            () = say_where(https, &resolver) => {}
            () = say_where(https_v6, &resolver) => {}
        }
    });
}

/// Tells every connection where it was meant to go, and for which name.
async fn say_where(listener: std::net::TcpListener, resolver: &Resolver) {
    let listener = TcpListener::from_std(listener).unwrap();
    while let Ok((mut stream, _)) = listener.accept().await {
        let local = stream.local_addr().unwrap();
        let mut text = format!("local {local}\n");
        if let Some(host) = resolver.name(local.ip()) {
            text.push_str(&format!("for {host}\n"));
        }
        stream.write_all(text.as_bytes()).await.unwrap();
    }
}
