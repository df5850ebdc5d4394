//! A broker in memory, on a codec that is not the one under test, that can be told to misbehave.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proto_kafka::messages::api_versions_response::ApiVersion;
use proto_kafka::messages::create_topics_response::CreatableTopicResult;
use proto_kafka::messages::delete_topics_response::DeletableTopicResult;
use proto_kafka::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use proto_kafka::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use proto_kafka::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use proto_kafka::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use proto_kafka::messages::{
    ApiVersionsResponse, CreateTopicsRequest, CreateTopicsResponse, DeleteTopicsRequest,
    DeleteTopicsResponse, FetchRequest, FetchResponse, ListOffsetsRequest, ListOffsetsResponse,
    MetadataRequest, MetadataResponse, ProduceRequest, ProduceResponse, RequestHeader, ResponseHeader,
    TopicName,
};
use proto_kafka::protocol::{Decodable, Encodable, StrBytes};

/// How the broker misbehaves; batches are counted from 0 over all connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults {
    /// Before each Produce answer.
    pub(crate) produce_delay: Duration,
    /// Before Produce answers instead, by the number of the batch, over and over.
    pub(crate) produce_delays: Vec<Duration>,
    /// Before the answer to this batch, once.
    pub(crate) stall: Option<(u64, Duration)>,
    /// Answered, but not kept; its offsets are given to the next.
    pub(crate) lose: Option<u64>,
    /// Answered, but not kept; its offsets stay a hole.
    pub(crate) lose_with_hole: Option<u64>,
    /// A bit of its payload is turned.
    pub(crate) damage: Option<u64>,
    /// Kept behind the next one.
    pub(crate) swap_with_next: Option<u64>,
    /// The connection ends at this batch.
    pub(crate) close_at: Option<u64>,
    /// Refused with this error code.
    pub(crate) refuse: Option<(u64, i16)>,
}

#[derive(Default)]
struct Partition {
    end: i64,
    batches: Vec<(i64, Vec<u8>)>,
    held_back: Option<Vec<u8>>,
}

/// What the broker has seen.
#[derive(Default)]
pub(crate) struct State {
    topics: HashMap<String, Vec<Partition>>,
    /// Batches so far.
    pub(crate) produced: u64,
    /// How long each Produce request took, from the last byte that was read to the answer.
    pub(crate) served: Vec<Duration>,
    /// Topics that were deleted.
    pub(crate) deleted: Vec<String>,
}

/// A running broker; its threads end with the test process.
pub(crate) struct FakeBroker {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<Mutex<State>>,
}

impl FakeBroker {
    pub(crate) fn start(faults: Faults) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, faults) = (shared.clone(), faults.clone());
                let connection = Connection { stream: stream.unwrap(), address, state, faults };
                std::thread::spawn(move || connection.serve());
            }
        });
        Self { address, state }
    }
}

struct Connection {
    stream: TcpStream,
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    faults: Faults,
}

const VERSIONS: [(i16, i16, i16); 6] = [(0, 0, 9), (1, 4, 12), (2, 0, 7), (3, 0, 12), (19, 0, 7), (20, 0, 6)];

impl Connection {
    fn serve(mut self) {
        self.stream.set_nodelay(true).unwrap();
        loop {
            let mut size = [0; 4];
            if self.stream.read_exact(&mut size).is_err() {
                return;
            }
            let mut frame = vec![0; u32::from_be_bytes(size) as usize];
            if self.stream.read_exact(&mut frame).is_err() {
                return;
            }
            let began = Instant::now();
            let mut frame = Bytes::from(frame);
            let header = RequestHeader::decode(&mut frame, 1).unwrap();
            let version = header.request_api_version;
            let mut body = BytesMut::new();
            let answered = match header.request_api_key {
                0 => self.produce(frame, version, &mut body),
                1 => self.fetch(frame, version, &mut body),
                2 => self.list_offsets(frame, version, &mut body),
                3 => self.metadata(frame, version, &mut body),
                18 => api_versions(&mut body),
                19 => self.create_topics(frame, version, &mut body),
                20 => self.delete_topics(frame, version, &mut body),
                key => panic!("request {key} is not expected"),
            };
            match answered {
                Answer::Close => return,
                Answer::Nothing => continue,
                Answer::Body => {}
            }
            let mut out = BytesMut::from(&[0; 4][..]);
            let answer = ResponseHeader::default().with_correlation_id(header.correlation_id);
            answer.encode(&mut out, 0).unwrap();
            out.extend_from_slice(&body);
            let size = (out.len() - 4) as u32;
            out[..4].copy_from_slice(&size.to_be_bytes());
            if header.request_api_key == 0 {
                self.state.lock().unwrap().served.push(began.elapsed());
            }
            if self.stream.write_all(&out).is_err() {
                return;
            }
        }
    }

    fn produce(&self, mut frame: Bytes, version: i16, out: &mut BytesMut) -> Answer {
        let request = ProduceRequest::decode(&mut frame, version).unwrap();
        let topic = &request.topic_data[0];
        let data = &topic.partition_data[0];
        let mut batch = data.records.as_ref().unwrap().to_vec();
        let mut state = self.state.lock().unwrap();
        let number = state.produced;
        state.produced += 1;
        if self.faults.close_at == Some(number) {
            return Answer::Close;
        }
        let refused = self.faults.refuse.filter(|(at, _)| *at == number);
        let is = |at: Option<u64>| at == Some(number);
        let records = i64::from(i32::from_be_bytes(batch[57..61].try_into().unwrap()));
        let partition = &mut state.topics.get_mut(&*topic.name.0).unwrap()[data.index as usize];
        if is(self.faults.damage) {
            *batch.last_mut().unwrap() ^= 1;
        }
        if is(self.faults.lose_with_hole) {
            partition.end += records;
        } else if is(self.faults.swap_with_next) {
            partition.held_back = Some(batch);
        } else if !is(self.faults.lose) && refused.is_none() {
            partition.append(batch, records);
            if let Some(held_back) = partition.held_back.take() {
                partition.append(held_back, records);
            }
        }
        drop(state);
        let delays = &self.faults.produce_delays;
        let delay = delays.get(number as usize % delays.len().max(1));
        std::thread::sleep(*delay.unwrap_or(&self.faults.produce_delay));
        if let Some((at, length)) = self.faults.stall
            && at == number
        {
            std::thread::sleep(length);
        }
        if request.acks == 0 {
            return Answer::Nothing;
        }
        let partition = PartitionProduceResponse::default()
            .with_index(data.index)
            .with_error_code(refused.map_or(0, |(_, code)| code));
        let topic = TopicProduceResponse::default()
            .with_name(topic.name.clone())
            .with_partition_responses(vec![partition]);
        encode(ProduceResponse::default().with_responses(vec![topic]), version, out)
    }

    fn fetch(&self, mut frame: Bytes, version: i16, out: &mut BytesMut) -> Answer {
        let request = FetchRequest::decode(&mut frame, version).unwrap();
        let topic = &request.topics[0];
        let wanted = &topic.partitions[0];
        let state = self.state.lock().unwrap();
        let partition = &state.topics[&*topic.topic.0][wanted.partition as usize];
        let mut records = Vec::new();
        for (base_offset, batch) in &partition.batches {
            if *base_offset >= wanted.fetch_offset {
                let room = (wanted.partition_max_bytes as usize).saturating_sub(records.len());
                // As Kafka does: the first batch whole, the last one cut off.
                let len = if records.is_empty() { batch.len() } else { batch.len().min(room) };
                records.extend_from_slice(&batch[..len]);
            }
        }
        let partition = PartitionData::default()
            .with_partition_index(wanted.partition)
            .with_high_watermark(partition.end)
            .with_aborted_transactions(None)
            .with_records(Some(Bytes::from(records)));
        let topic = FetchableTopicResponse::default()
            .with_topic(topic.topic.clone())
            .with_partitions(vec![partition]);
        encode(FetchResponse::default().with_responses(vec![topic]), version, out)
    }

    fn list_offsets(&self, mut frame: Bytes, version: i16, out: &mut BytesMut) -> Answer {
        let request = ListOffsetsRequest::decode(&mut frame, version).unwrap();
        let state = self.state.lock().unwrap();
        let topic = &request.topics[0];
        let partitions = topic.partitions.iter().map(|wanted| {
            let partition = &state.topics[&*topic.name.0][wanted.partition_index as usize];
            let offset = if wanted.timestamp == -2 { 0 } else { partition.end };
            ListOffsetsPartitionResponse::default()
                .with_partition_index(wanted.partition_index)
                .with_offset(offset)
        });
        let topic = ListOffsetsTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(partitions.collect());
        encode(ListOffsetsResponse::default().with_topics(vec![topic]), version, out)
    }

    fn metadata(&self, mut frame: Bytes, version: i16, out: &mut BytesMut) -> Answer {
        let request = MetadataRequest::decode(&mut frame, version).unwrap();
        let name = request.topics.unwrap()[0].name.clone().unwrap();
        let state = self.state.lock().unwrap();
        let topic = match state.topics.get(&*name.0) {
            None => MetadataResponseTopic::default().with_error_code(3),
            Some(partitions) => {
                let list = (0..partitions.len()).map(|index| {
                    MetadataResponsePartition::default()
                        .with_partition_index(index as i32)
                        .with_leader_id(1.into())
                        .with_replica_nodes(vec![1.into()])
                        .with_isr_nodes(vec![1.into()])
                });
                MetadataResponseTopic::default().with_partitions(list.collect())
            }
        };
        let broker = MetadataResponseBroker::default()
            .with_node_id(1.into())
            .with_host(StrBytes::from_string(self.address.ip().to_string()))
            .with_port(i32::from(self.address.port()));
        let answer = MetadataResponse::default()
            .with_brokers(vec![broker])
            .with_topics(vec![topic.with_name(Some(name))]);
        encode(answer, version, out)
    }

    fn create_topics(&self, mut frame: Bytes, version: i16, out: &mut BytesMut) -> Answer {
        let request = CreateTopicsRequest::decode(&mut frame, version).unwrap();
        let topic = &request.topics[0];
        let mut partitions = Vec::new();
        partitions.resize_with(topic.num_partitions as usize, Partition::default);
        self.state.lock().unwrap().topics.insert(topic.name.0.to_string(), partitions);
        let result = CreatableTopicResult::default().with_name(topic.name.clone());
        encode(CreateTopicsResponse::default().with_topics(vec![result]), version, out)
    }

    fn delete_topics(&self, mut frame: Bytes, version: i16, out: &mut BytesMut) -> Answer {
        let request = DeleteTopicsRequest::decode(&mut frame, version).unwrap();
        let name: TopicName = request.topic_names[0].clone();
        let mut state = self.state.lock().unwrap();
        state.topics.remove(&*name.0);
        state.deleted.push(name.0.to_string());
        let result = DeletableTopicResult::default().with_name(Some(name));
        encode(DeleteTopicsResponse::default().with_responses(vec![result]), version, out)
    }
}

impl Partition {
    fn append(&mut self, mut batch: Vec<u8>, records: i64) {
        batch[..8].copy_from_slice(&self.end.to_be_bytes());
        self.batches.push((self.end, batch));
        self.end += records;
    }
}

enum Answer {
    Body,
    Nothing,
    Close,
}

fn api_versions(out: &mut BytesMut) -> Answer {
    let ranges = VERSIONS.iter().map(|(key, min, max)| {
        ApiVersion::default().with_api_key(*key).with_min_version(*min).with_max_version(*max)
    });
    encode(ApiVersionsResponse::default().with_api_keys(ranges.collect()), 0, out)
}

fn encode(answer: impl Encodable, version: i16, out: &mut BytesMut) -> Answer {
    answer.encode(out, version).unwrap();
    Answer::Body
}
