# Getting, compiling and running Kafka's Java client, of either age. Sourced by client.sh of both.
# shellcheck shell=bash

# java_install DIRECTORY AGE_SOURCE: the jars of $CLIENT_VERSION, and the program compiled against them.
java_install() {
  local home=$1 age=$2 source stale= sources=()
  for source in "$SCRIPTS"/clients/java/*.java; do
    if [ "$(basename "$source")" != Age.java ]; then sources+=("$source"); fi
  done
  sources+=("$age")
  need java default-jre-headless
  [ -f "$home/jars-$CLIENT_VERSION/.complete" ] || with_lock java_jars "$home" "$home/jars-$CLIENT_VERSION" || return 1
  for source in "${sources[@]}"; do
    if [ ! "$home/classes/.complete" -nt "$source" ]; then stale=1; fi
  done
  [ -n "$stale" ] || return 0
  need javac default-jdk-headless
  rm -rf "$home/classes"
  mkdir -p "$home/classes"
  javac -cp "$home/jars-$CLIENT_VERSION/*" -d "$home/classes" -nowarn "${sources[@]}" >&2 && touch "$home/classes/.complete"
}

# java_jars DIRECTORY JARS: whatever another version left in the directory goes.
java_jars() {
  need mvn maven
  rm -rf "$1"
  mkdir -p "$2"
  cat >"$2/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ringmain</groupId><artifactId>kafka-client</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-clients</artifactId><version>$CLIENT_VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>$SLF4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
  (cd "$2" && mvn -B -q -Dstyle.color=never "org.apache.maven.plugins:maven-dependency-plugin:$DEPENDENCY_PLUGIN_VERSION:copy-dependencies" \
    -DoutputDirectory="$2") >&2 && touch "$2/.complete"
}

# java_run DIRECTORY ARGS...
java_run() {
  exec java -Xmx256m -XX:TieredStopAtLevel=1 -Dorg.slf4j.simpleLogger.defaultLogLevel=error \
    -cp "$1/classes:$1/jars-$CLIENT_VERSION/*" Client "${@:2}"
}
