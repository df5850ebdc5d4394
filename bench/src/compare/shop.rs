//! Installing peers with the package clients that are there: Maven, Go, Debian's.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::compare::process::Process;
use crate::stop::Stop;

/// Downloading and building one peer may take so long.
const INSTALL_LIMIT: Duration = Duration::from_secs(420);
/// Building this repository's broker from cold may take so long: 12 minutes were seen on two slow cores.
const BUILD_LIMIT: Duration = Duration::from_secs(1800);
/// Asking a program for its version.
const VERSION_LIMIT: Duration = Duration::from_secs(60);
/// What keeps Debian's packages from starting their services.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Where installed peers stay for the next run, and where their logs go in this one.
#[derive(Debug)]
pub(crate) struct Shop {
    /// One directory for each peer and version.
    pub(crate) cache: PathBuf,
    /// A scratch directory.
    pub(crate) logs: PathBuf,
    /// Ends installing, too.
    pub(crate) stop: Stop,
}

impl Shop {
    /// The directory `name` of the cache; if it is not there, `make` fills a new one, which is then
    /// given the name: what is half done is never taken for done.
    pub(crate) fn stock(
        &self,
        name: &str,
        make: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        let done = self.cache.join(name);
        if done.is_dir() {
            return Ok(done);
        }
        std::fs::create_dir_all(&self.cache).map_err(|error| {
            format!("{} cannot be made: {error}; choose another --cache", self.cache.display())
        })?;
        let partial = tempfile::Builder::new()
            .prefix(&format!("{name}-partial-"))
            .tempdir_in(&self.cache)
            .map_err(|error| format!("{}: {error}", self.cache.display()))?;
        make(partial.path())?;
        match std::fs::rename(partial.path(), &done) {
            Ok(()) => drop(partial.keep()),
            // Another run was faster; ours goes.
            Err(_) if done.is_dir() => {}
            Err(error) => return Err(format!("{} cannot be made: {error}", done.display())),
        }
        Ok(done)
    }

    /// Runs a step of an installation.
    pub(crate) fn run(&self, name: &str, command: &mut Command) -> Result<(), String> {
        self.run_within(INSTALL_LIMIT, name, command)
    }

    /// Builds the broker.
    pub(crate) fn build(&self, name: &str, command: &mut Command) -> Result<(), String> {
        self.run_within(BUILD_LIMIT, name, command)
    }

    fn run_within(&self, limit: Duration, name: &str, command: &mut Command) -> Result<(), String> {
        let log = self.logs.join(format!("install-{name}.log"));
        Process::run(command, &log, limit, &self.stop).map_err(|fault| fault.to_string())
    }

    /// Runs a program that prints something and ends; what it printed.
    pub(crate) fn ask(&self, command: &mut Command) -> Result<String, String> {
        let log = tempfile::NamedTempFile::new_in(&self.logs).map_err(|error| error.to_string())?;
        Process::run(command, log.path(), VERSION_LIMIT, &self.stop).map_err(|fault| fault.to_string())?;
        std::fs::read_to_string(log.path())
            .map(|text| text.trim().to_string())
            .map_err(|error| error.to_string())
    }

    /// Jars of Maven artifacts and all that they depend upon, in the directory `lib` of what is returned.
    pub(crate) fn maven(
        &self,
        name: &str,
        artifacts: &[(&str, &str, &str)],
        then: impl FnOnce(&Path) -> Result<(), String>,
    ) -> Result<PathBuf, String> {
        need("mvn", "maven")?;
        self.stock(name, |dir| {
            let dependencies: String = artifacts
                .iter()
                .map(|(group, artifact, version)| {
                    format!(
                        "    <dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>\
                         <version>{version}</version></dependency>\n"
                    )
                })
                .collect();
            let pom = format!(
                "<project xmlns=\"http://maven.apache.org/POM/4.0.0\">\n  <modelVersion>4.0.0</modelVersion>\n  \
                 <groupId>ringmain</groupId><artifactId>peer</artifactId><version>1</version>\
                 <packaging>pom</packaging>\n  <dependencies>\n{dependencies}  </dependencies>\n</project>\n"
            );
            std::fs::write(dir.join("pom.xml"), pom).map_err(|error| error.to_string())?;
            let mut command = Command::new("mvn");
            command.current_dir(dir).args(["-B", "-q", MAVEN_COPY]);
            self.run(name, command.arg(format!("-DoutputDirectory={}", dir.join("lib").display())))?;
            then(dir)
        })
    }

    /// A program of a Debian package; installed if it is missing, which needs root.
    pub(crate) fn debian(&self, program: &str, package: &str) -> Result<(), String> {
        if Path::new(program).is_file() || on_path(program) {
            return Ok(());
        }
        if !on_path("apt-get") {
            return Err(format!("{program} is missing, and there is no apt-get; install {package}"));
        }
        if !nix::unistd::geteuid().is_root() {
            return Err(format!("{program} is missing, and installing {package} needs root"));
        }
        let _policy = NoServices::declare();
        for arguments in
            [&["update", "-qq"][..], &["install", "-y", "-qq", "--no-install-recommends", package]]
        {
            let mut command = Command::new("apt-get");
            self.run(package, command.env("DEBIAN_FRONTEND", "noninteractive").args(arguments))?;
        }
        Ok(())
    }
}

const MAVEN_COPY: &str = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies";

/// While it exists, packages that are installed do not start their services.
struct NoServices {
    is_ours: bool,
}

impl NoServices {
    fn declare() -> Self {
        use std::os::unix::fs::PermissionsExt;
        let is_ours = !Path::new(POLICY).exists()
            && std::fs::write(POLICY, "#!/bin/sh\nexit 101\n").is_ok()
            && std::fs::set_permissions(POLICY, std::fs::Permissions::from_mode(0o755)).is_ok();
        Self { is_ours }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.is_ours {
            let _ = std::fs::remove_file(POLICY);
        }
    }
}

/// Whether a program is found in the PATH.
pub(crate) fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// A tool that is not installed here but must be there.
pub(crate) fn need(program: &str, package: &str) -> Result<(), String> {
    if on_path(program) { Ok(()) } else { Err(format!("{program} is missing; install {package}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_half_made_is_made_again_and_what_is_made_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let shop =
            Shop { cache: dir.path().join("cache"), logs: dir.path().to_path_buf(), stop: Stop::default() };
        let failed = shop.stock("a-1", |dir| {
            std::fs::write(dir.join("half"), "").unwrap();
            Err("no network".to_string())
        });
        assert_eq!(failed.unwrap_err(), "no network");
        assert_eq!(shop.cache.read_dir().unwrap().count(), 0);
        let made = shop
            .stock("a-1", |dir| std::fs::write(dir.join("whole"), "").map_err(|e| e.to_string()))
            .unwrap();
        assert!(made.join("whole").is_file());
        let again = shop.stock("a-1", |_| unreachable!("it is there"));
        assert_eq!(again.unwrap(), made);
        assert_eq!(shop.cache.read_dir().unwrap().count(), 1);
    }
}
