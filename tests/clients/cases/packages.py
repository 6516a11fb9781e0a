"""Package tools, each with a registry of its own kind that wants a credential which only the gate has."""

import base64
import hashlib
import json
import os
import pathlib
import zipfile

import servers
from cases import case
from world import Failed, expect, holds, own, program

WHEEL = """Metadata-Version: 2.1
Name: exeat-matrix-sample
Version: 1.2.3
"""
PASS = "proxy_pass http://127.0.0.1:{port}; proxy_set_header Host $host; proxy_set_header Authorization '';"


def wheel(folder):
    """A wheel with one module."""
    path = folder / "exeat_matrix_sample-1.2.3-py3-none-any.whl"
    files = {
        "exeat_matrix_sample.py": "ANSWER = 42\n",
        "exeat_matrix_sample-1.2.3.dist-info/METADATA": WHEEL,
        "exeat_matrix_sample-1.2.3.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "exeat_matrix_sample-1.2.3.dist-info/RECORD"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
        archive.writestr(record, "".join(f"{name},,\n" for name in [*files, record]))
    return path


def pypi(site):
    """pypiserver behind nginx, which asks for a password."""
    folder = site.outside / "packages"
    folder.mkdir()
    port = servers.free_port()
    command = [site.world.real / "python/bin/pypi-server", "run", "--interface", "127.0.0.1", "--port", port]
    servers.foreign(site, "pypiserver", [*command, "--passwords", ".", "--authenticate", ".", folder], port)
    secret = site.credential("pypi", "pypi.example.com", kind="basic", username="agent")
    authorization = "Basic " + base64.b64encode(f"agent:{secret}".encode()).decode()
    front = servers.nginx(site, authorization, f"location / {{ {PASS.format(port=port)} }}")
    tools = {
        "project": "GET /simple/{project}/",
        "file": "GET /packages/{file}",
        "file-head": "HEAD /packages/{file}",
        "upload": ("POST /", '[tool.input.body]\nmedia = "multipart"'),
    }
    site.api("pypi", front.port, tools, "pypi")
    site.ready()
    return front, folder, authorization


@case("pip", "install from pypiserver behind Basic authentication", ("{python}", "-m", "pip", "--version"))
def pip(site):
    front, folder, authorization = pypi(site)
    wheel(folder)
    command = [site.world.python, "-m", "pip", "install", "--quiet", "--isolated", "--no-cache-dir", "--no-deps"]
    more = ["--index-url", "https://pypi.example.com/simple/", "--target", "got", "exeat-matrix-sample==1.2.3"]
    site.sealed(*command, *more, env={"PIP_CONFIG_FILE": os.devnull}).well()
    expect((site.work / "got/exeat_matrix_sample.py").read_text(), "ANSWER = 42\n", "the module")
    front.saw_only(authorization)
    receipts = {tool for tool, *_ in site.receipts()}
    holds({"pypi.project", "pypi.file"} <= receipts, f"receipts {receipts}")


@case("uv", "publish to, and install from, pypiserver behind Basic authentication", "{real}/python/bin/uv --version")
def uv(site):
    front, folder, authorization = pypi(site)
    made = wheel(site.work)
    content = made.read_bytes()
    program_uv, env = site.world.real / "python/bin/uv", {"UV_NO_CONFIG": "1", "UV_CACHE_DIR": site.work / "cache"}
    url = "https://pypi.example.com"
    login = ["--username", "agent", "--password", "placeholder"]
    site.sealed(program_uv, "publish", "--quiet", "--publish-url", f"{url}/", *login, made.name, env=env).well()
    expect((folder / made.name).read_bytes() == content, True, "the upload arrived")
    where = ["--default-index", f"{url}/simple/", "--python", site.world.python, "--target", "got"]
    site.sealed(program_uv, "pip", "install", "--quiet", *where, "exeat-matrix-sample==1.2.3", env=env).well()
    expect((site.work / "got/exeat_matrix_sample.py").read_text(), "ANSWER = 42\n", "the module")
    front.saw_only(authorization)
    receipts = {tool for tool, *_ in site.receipts()}
    holds({"pypi.upload", "pypi.project", "pypi.file"} <= receipts, f"receipts {receipts}")


VERDACCIO = """storage: {folder}/storage
auth:
  htpasswd: {{ file: {folder}/users, max_users: -1 }}
packages:
  '@*/*': {{ access: $all, publish: $anonymous }}
  '**': {{ access: $all, publish: $anonymous }}
max_body_size: 50mb
web: {{ enable: false }}
log: {{ type: stdout, format: json, level: warn }}
"""
NPM_TOOLS = {
    "package": "GET /{package}",
    "publish": ("PUT /{package}", '[tool.input.body]\nmedia = "binary"'),
    "tarball": "GET /{package}/-/{file}",
    "scoped-tarball": "GET /{scope}/{package}/-/{file}",
    "audit": ("POST /-/npm/v1/security/{*kind}", '[tool.input.body]\nmedia = "binary"'),
}


def npm(site, name, tools):
    """Publishes a package to verdaccio, and installs it from there."""
    folder = site.outside / "verdaccio"
    folder.mkdir()
    (folder / "config.yaml").write_text(VERDACCIO.format(folder=folder), encoding="utf-8")
    port = servers.free_port()
    command = [program("node"), site.world.modules / "verdaccio/bin/verdaccio", "--config", folder / "config.yaml"]
    servers.foreign(site, "verdaccio", [*command, "--listen", f"127.0.0.1:{port}"], port)
    secret = site.credential("npm", "npm.example.com", env="NPM_TOKEN")
    more = "proxy_set_header X-Forwarded-Proto https;"
    front = servers.nginx(site, f"Bearer {secret}", f"location / {{ {PASS.format(port=port)} {more} }}")
    site.api("npm", front.port, tools, "npm")
    site.ready()
    made = site.work / "made"
    made.mkdir()
    (made / "package.json").write_text(json.dumps({"name": name, "version": "1.2.3", "main": "main.js"}))
    (made / "main.js").write_text("module.exports = 42;\n")
    (site.work / "package.json").write_text('{"name": "user", "version": "1.0.0", "private": true}')
    settings = "registry=https://npm.example.com/\n//npm.example.com/:_authToken=${NPM_TOKEN}\nupdate-notifier=false\n"
    (site.work / "npmrc").write_text(settings)
    env = {"npm_config_userconfig": site.work / "npmrc", "npm_config_cache": site.work / "cache"}
    # What it publishes it keeps, and would install from there.
    fresh = env | {"npm_config_cache": site.work / "fresh"}
    site.sealed(program("npm"), "publish", "./made", "--access", "public", "--loglevel", "error", env=env).well()
    site.sealed(program("npm"), "install", name, "--no-audit", "--no-fund", "--loglevel", "error", env=fresh).well()
    got = site.work / "node_modules" / name / "main.js"
    expect(got.read_text(), "module.exports = 42;\n", "the module")
    front.saw_only(f"Bearer {secret}")
    return {tool for tool, decision, _ in site.receipts() if decision == "allowed"}


@case("npm", "publish to, and install from, verdaccio with a token", "npm --version")
def npm_plain(site):
    holds({"npm.publish", "npm.package", "npm.tarball"} <= npm(site, "exeat-matrix-sample", NPM_TOOLS), "receipts")


@case("npm", "publish and install of a scoped package, whose name holds `%2F` on the wire", "npm --version")
def npm_scoped(site):
    slash = 'encoded-slash = ["package"]'
    binary = f'{slash}\n[tool.input.body]\nmedia = "binary"'
    tools = NPM_TOOLS | {"package": ("GET /{package}", slash), "publish": ("PUT /{package}", binary)}
    receipts = npm(site, "@exeat-matrix/sample", tools)
    holds({"npm.publish", "npm.package", "npm.scoped-tarball"} <= receipts, f"receipts {receipts}")


@case("cargo", "fetch and build from a sparse registry that requires a token", "cargo --version")
def cargo(site):
    real = pathlib.Path(own("rustc", "--print", "sysroot").strip()) / "bin/cargo"
    if not real.exists():
        raise Failed("cargo is not where rustc is")
    folder = site.outside / "registry"
    (folder / "crates").mkdir(parents=True)
    source = site.outside / "sample"
    crate(source, 'name = "exeat-matrix-sample"', "pub const ANSWER: u32 = 42;\n", "src/lib.rs")
    package = ["cargo", "package", "--quiet", "--no-verify", "--allow-dirty", "--offline"]
    kept = {"CARGO_TARGET_DIR": str(site.outside / "target")}
    own(*package, cwd=source, env={**os.environ, **kept})
    content = next((site.outside / "target/package").glob("*.crate")).read_bytes()
    (folder / "crates/exeat-matrix-sample-1.2.3.crate").write_bytes(content)
    download = "https://cargo.example.com/crates/{crate}-{version}.crate"
    (folder / "config.json").write_text(json.dumps({"dl": download, "auth-required": True}))
    index = folder / "ex/ea/exeat-matrix-sample"
    index.parent.mkdir(parents=True)
    line = {"name": "exeat-matrix-sample", "vers": "1.2.3", "deps": [], "features": {}, "yanked": False}
    index.write_text(json.dumps(line | {"cksum": hashlib.sha256(content).hexdigest()}) + "\n")

    env = {"env": "CARGO_REGISTRIES_SAMPLE_TOKEN", "kind": "api-key", "header": "authorization"}
    secret = site.credential("cargo", "cargo.example.com", **env)
    front = servers.nginx(site, secret, f"root {folder};")
    tools = {"config": "GET /config.json", "index": "GET /{one}/{two}/{crate}", "crate": "GET /crates/{file}"}
    site.api("cargo", front.port, tools, "cargo")
    site.ready()
    wants = 'name = "user"\n[dependencies]\nexeat-matrix-sample = { version = "1", registry = "sample" }'
    crate(site.work, wants, "fn main() { println!(\"{}\", exeat_matrix_sample::ANSWER); }\n", "src/main.rs")
    settings = '[registries.sample]\nindex = "sparse+https://cargo.example.com/"\n'
    settings += 'credential-provider = ["cargo:token"]\n'
    (site.work / ".cargo").mkdir()
    (site.work / ".cargo/config.toml").write_text(settings)
    environment = {"CARGO_HOME": site.work / "home", "PATH": f"{real.parent}:{os.environ['PATH']}"}
    done = site.sealed(real, "run", "--quiet", env=environment).well()
    expect(done.out, b"42\n", "what the program prints")
    front.saw_only(secret)
    site.allowed(cargo__config=1, cargo__index=1, cargo__crate=1)


def crate(folder, lines, source, path):
    (folder / "src").mkdir(parents=True)
    first, _, rest = lines.partition("\n")
    head = f'[package]\n{first}\nversion = "1.2.3"\nedition = "2021"\nlicense = "MIT"\ndescription = "a sample"\n'
    (folder / "Cargo.toml").write_text(f"{head}\n{rest}\n[workspace]\n")
    (folder / path).write_text(source)
