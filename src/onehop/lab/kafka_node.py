"""What one Kafka broker of the lab is told: its node file, its log levels and its JVM.

Every node is broker and controller at once, in KRaft mode with a static quorum: three processes
make a cluster, and none needs a formatting run of its own (`kafka.py` writes what that run would
leave). The figures are sized for a laptop: a broker takes about 150 MB and a start of three
takes about five seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from onehop.model.address import IPAddress, host_port

CLUSTER_ID = "onehopLabClusterIdAAAAA"
CONTROLLER_PORT = 9090
REPLICATION_PORT = 9091
EXTERNAL_PORT = 9096

# C1 alone and the serial collector: with Kafka's own 1 GB heap, G1 and C2 the same start takes
# longer and twice the CPU, on a machine whose cores the data path under test needs too.
JVM_OPTIONS = (
    "-Xms48m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:MaxMetaspaceSize=96m",
    "-XX:ReservedCodeCacheSize=48m",
    "-XX:MaxDirectMemorySize=64m",
    "-Xss512k",
    "-XX:-UsePerfData",
    "-XX:+ExitOnOutOfMemoryError",
    "-Djava.awt.headless=true",
)

# A dead broker is fenced after 2 s instead of 9, and a dead controller is replaced after 3 instead
# of 11. Faster settings elect without end on a busy machine.
FAST_FAILURE = (
    "broker.session.timeout.ms=2000",
    "broker.heartbeat.interval.ms=300",
    "controller.quorum.fetch.timeout.ms=1000",
    "controller.quorum.election.timeout.ms=1000",
    "controller.quorum.election.backoff.max.ms=300",
    "replica.lag.time.max.ms=2000",
)

_SIZES = (
    # The default is 50 partitions: a tenth of the files, and a first consumer group two
    # seconds sooner, serve a lab as well.
    "offsets.topic.num.partitions=6",
    "transaction.state.log.num.partitions=3",
    "share.coordinator.state.topic.num.partitions=3",
    "group.initial.rebalance.delay.ms=0",
    "num.network.threads=2",
    "num.io.threads=2",
    # The cleaner's default buffer is as large as the whole heap given here.
    "log.cleaner.dedupe.buffer.size=2097152",
    "log.cleaner.io.buffer.size=65536",
    "log.segment.bytes=16777216",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """One broker: the pod it lives in, and the address it tells its clients.

    `namespace` and `name` are the pod's, as Kubernetes has them; `host` is what the lab's
    process starter calls the place it runs in. `advertised_port` is the port that clients are
    told; it differs from `external_port`, the one the broker listens on, for a NodePort.
    """

    node_id: int
    namespace: str
    name: str
    host: str
    pod_address: IPAddress
    advertised_address: IPAddress
    external_port: int = EXTERNAL_PORT
    advertised_port: int = EXTERNAL_PORT
    rack: str = ""

    @property
    def external_listener(self) -> str:
        """The name of the listener that clients reach, as Strimzi writes it."""
        return f"EXTERNAL-{self.external_port}"


def node_file(
    broker: Broker, brokers: tuple[Broker, ...], data: Path, settings: tuple[str, ...] = ()
) -> str:
    """The `server.properties` of `broker`, whose quorum is `brokers`; `settings` win.

    Between brokers only pod addresses are spoken; the address of the Service is told to
    clients alone, so a broken load balancer shows as clients that cannot reach a healthy cluster.
    """
    pod, external = broker.pod_address, broker.external_listener
    # Any address, since the address a packet is for may come and go while the broker runs.
    anywhere = "[::]" if pod.version == 6 else "0.0.0.0"
    control, replication = f"CONTROLPLANE-{CONTROLLER_PORT}", f"REPLICATION-{REPLICATION_PORT}"
    between = f"{replication}://{host_port(pod, REPLICATION_PORT)}"
    told = host_port(broker.advertised_address, broker.advertised_port)
    voters = ",".join(f"{b.node_id}@{host_port(b.pod_address, CONTROLLER_PORT)}" for b in brokers)
    lines = [
        "process.roles=broker,controller",
        f"node.id={broker.node_id}",
        f"controller.quorum.voters={voters}",
        f"controller.listener.names={control}",
        f"listeners={control}://{host_port(pod, CONTROLLER_PORT)},{between},"
        f"{external}://{anywhere}:{broker.external_port}",
        f"advertised.listeners={between},{external}://{told}",
        "listener.security.protocol.map="
        + ",".join(f"{name}:PLAINTEXT" for name in (control, replication, external)),
        f"inter.broker.listener.name={replication}",
        f"log.dirs={data}",
        *([f"broker.rack={broker.rack}"] if broker.rack else []),
        *_replication(len(brokers)),
        *_SIZES,
        *settings,
    ]
    return "\n".join(lines) + "\n"


def _replication(size: int) -> tuple[str, ...]:
    copies, in_sync = min(3, size), min(2, size)
    return (
        f"offsets.topic.replication.factor={copies}",
        f"transaction.state.log.replication.factor={copies}",
        f"transaction.state.log.min.isr={in_sync}",
        f"share.coordinator.state.topic.replication.factor={copies}",
        f"share.coordinator.state.topic.min.isr={in_sync}",
        f"default.replication.factor={copies}",
        f"min.insync.replicas={in_sync}",
    )


def meta_file(broker: Broker, cluster_id: str) -> str:
    """The `meta.properties` that formatting the data folder would have left."""
    return f"version=1\ncluster.id={cluster_id}\nnode.id={broker.node_id}\n"


def log_file(requests: Path, *, record_requests: bool) -> str:
    """The log4j2 file of a broker: warnings and the start on stdout, requests in their own file.

    The broker looks at this file once a second, so rewriting it turns the request log on and
    off while it runs. That log is about 1 kB a request: it is for looking, never for load.
    """
    level = "DEBUG" if record_requests else "WARN"
    return f"""\
monitorInterval=1
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=[%d] %p %m (%c)%n
appender.requests.type=File
appender.requests.name=requests
appender.requests.fileName={requests}
appender.requests.createOnDemand=true
appender.requests.layout.type=PatternLayout
appender.requests.layout.pattern=%m%n
rootLogger.level=WARN
rootLogger.appenderRef.out.ref=out
logger.started.name=kafka.server.KafkaRaftServer
logger.started.level=INFO
logger.requests.name=kafka.request.logger
logger.requests.level={level}
logger.requests.additivity=false
logger.requests.appenderRef.requests.ref=requests
"""
