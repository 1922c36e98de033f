#include "ropescope/io/reader_process.h"

#include <cerrno>
#include <csignal>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <ATen/ops/empty.h>
#include <ATen/ops/from_blob.h>

#include "ropescope/core/errors.h"
#include "ropescope/io/hdf5_reader.h"

namespace ropescope {

namespace reader_process {

/// Owns a file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(value_, other.value_);
    return *this;
  }
  ~Descriptor() {
    if (value_ >= 0) close(value_);
  }
  int get() const { return value_; }

 private:
  int value_;
};

}  // namespace reader_process

namespace {

using reader_process::Descriptor;

// A damaged file can send HDF5 round in circles. Work in the processor is counted, waiting for a disk is not; an
// honest file inflates at far more than this.
constexpr uint64_t kLeastSeconds = 20;
constexpr uint64_t kBytesPerSecond = uint64_t{2} << 20;
/// Of a request or an answer: lists of names and strings. A damaged length must not take the memory.
constexpr uint64_t kMostMessageBytes = uint64_t{1} << 34;

bool send_all(int socket, const void* data, size_t bytes) {
  const char* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t sent = send(socket, from, bytes, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    from += sent;
    bytes -= static_cast<size_t>(sent);
  }
  return true;
}

bool receive_all(int socket, void* data, size_t bytes) {
  char* into = static_cast<char*>(data);
  while (bytes > 0) {
    const ssize_t got = recv(socket, into, bytes, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return false;
    into += got;
    bytes -= static_cast<size_t>(got);
  }
  return true;
}

/// One message: its length with a descriptor (or none) beside it, then CBOR. False if the other side is gone.
bool send_message(int socket, const Json& message, int descriptor) {
  const std::vector<uint8_t> body = Json::to_cbor(message);
  uint64_t length = body.size();
  iovec part{&length, sizeof length};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  if (descriptor >= 0) {
    header.msg_control = room;
    header.msg_controllen = sizeof room;
    cmsghdr* control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(control), &descriptor, sizeof descriptor);
  }
  ssize_t sent = 0;
  do sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  while (sent < 0 && errno == EINTR);
  return sent == sizeof length && send_all(socket, body.data(), body.size());
}

struct Message {
  Json body;
  Descriptor descriptor;
};

std::optional<Message> receive_message(int socket) {
  uint64_t length = 0;
  iovec part{&length, sizeof length};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof(int))] = {};
  header.msg_control = room;
  header.msg_controllen = sizeof room;
  ssize_t got = 0;
  do got = recvmsg(socket, &header, MSG_WAITALL | MSG_CMSG_CLOEXEC);
  while (got < 0 && errno == EINTR);
  Message message;
  if (const cmsghdr* control = CMSG_FIRSTHDR(&header);
      got > 0 && control != nullptr && control->cmsg_type == SCM_RIGHTS) {
    int descriptor = -1;
    std::memcpy(&descriptor, CMSG_DATA(control), sizeof descriptor);
    message.descriptor = Descriptor(descriptor);
  }
  if (got != sizeof length || length > kMostMessageBytes) return std::nullopt;
  std::vector<uint8_t> body(length);
  if (!receive_all(socket, body.data(), body.size())) return std::nullopt;
  message.body = Json::from_cbor(body, /*strict=*/true, /*allow_exceptions=*/false);
  if (!message.body.is_object()) return std::nullopt;
  return message;
}

/// Shared memory with a dataset's values.
Descriptor read_shared(const Hdf5Reader& reader, const std::string& dataset, uint64_t bytes) {
  Descriptor memory(memfd_create("ropescope-dataset", MFD_CLOEXEC));
  if (memory.get() < 0 || ftruncate(memory.get(), static_cast<off_t>(bytes)) != 0) throw std::bad_alloc();
  void* values = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (values == MAP_FAILED) throw std::bad_alloc();
  const auto unmap = [bytes](void* mapped) { munmap(mapped, bytes); };
  const std::unique_ptr<void, decltype(unmap)> mapped(values, unmap);
  reader.read_into(dataset, values);
  return memory;
}

Json attribute_json(const Attribute& attribute) {
  return std::visit([&](const auto& value) { return Json::array({attribute.index(), value}); }, attribute);
}

Json array_json(const Hdf5Array& array) {
  return {{"strings", array.strings},
          {"dtype", static_cast<int>(array.dtype)},
          {"shape", array.shape},
          {"bytes", array.bytes}};
}

Message answer(const Hdf5Reader& reader, const std::filesystem::path& path, const Json& request) {
  const auto member = request.at("member").get<std::string>();
  const auto object = request.at("object").get<std::string>(), name = request.at("name").get<std::string>();
  Message message;
  Json value;
  if (member == "has") {
    value = reader.has(object);
  } else if (member == "datasets") {
    value = reader.datasets();
  } else if (member == "groups") {
    value = reader.groups();
  } else if (member == "array") {
    value = array_json(reader.array(object));
  } else if (member == "read_strings") {
    value = reader.read_strings(object);
  } else if (member == "attribute_names") {
    value = reader.attribute_names(object);
  } else if (member == "has_attribute") {
    value = reader.has_attribute(object, name);
  } else if (member == "attribute") {
    value = attribute_json(reader.attribute(object, name));
  } else if (member == "read") {
    const Hdf5Array array = reader.array(object);
    if (array.strings) throw InputError("{}: {}: expected numbers, found strings", path.string(), object);
    reader.check_size(object);
    value = array_json(array);
    if (array.bytes > 0) message.descriptor = read_shared(reader, object, array.bytes);
  } else {
    throw InternalError("the reader of result files knows no {}", member);
  }
  message.body = {{"value", std::move(value)}};
  return message;
}

Message failure(const char* kind, const std::string& text) {
  Message message;
  message.body = {{kind, text}};
  return message;
}

template <typename Work>
Message guarded(const Work& work) {
  try {
    return work();
  } catch (const InputError& error) {
    return failure("input", error.what());
  } catch (const std::bad_alloc&) {
    return failure("memory", "");
  } catch (const std::exception& error) {
    return failure("other", error.what());
  }
}

/// What the child may do: a bounded time, no core file, no words, none of the parent's signal handlers. When
/// memory runs out it goes first.
void restrict_child(uint64_t file_bytes) {
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGXCPU}) {
    std::signal(signal, SIG_DFL);
  }
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  const rlim_t seconds = kLeastSeconds + file_bytes / kBytesPerSecond;
  const rlimit time{seconds, seconds + 1};
  setrlimit(RLIMIT_CPU, &time);
  if (const int nothing = open("/dev/null", O_RDWR); nothing >= 0) {
    for (const int standard : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) dup2(nothing, standard);
    close(nothing);
  }
  if (const int score = open("/proc/self/oom_score_adj", O_WRONLY); score >= 0) {
    static_cast<void>(!write(score, "1000", 4));
    close(score);
  }
}

[[noreturn]] void serve(int socket, const std::filesystem::path& path, uint64_t file_bytes) {
  restrict_child(file_bytes);
  std::unique_ptr<Hdf5Reader> reader;
  Message reply = guarded([&] {
    reader = std::make_unique<Hdf5Reader>(path);
    Message opened;
    opened.body = {{"value", true}};
    return opened;
  });
  while (send_message(socket, reply.body, reply.descriptor.get()) && reader) {
    const std::optional<Message> request = receive_message(socket);
    if (!request) break;
    reply = guarded([&] { return answer(*reader, path, request->body); });
  }
  _exit(0);  // none of the parent's destructors and buffers
}

}  // namespace

struct ReaderProcess::Impl {
  std::filesystem::path path;
  uint64_t file_bytes = 0;
  reader_process::Descriptor socket;
  mutable pid_t child = -1;

  ~Impl() {
    // Also where another child, forked later, holds a copy of the socket.
    if (socket.get() >= 0) shutdown(socket.get(), SHUT_RDWR);
    static_cast<void>(end());
  }

  /// Waits for the child; its wait status, or 0 if it has been waited for.
  int end() const {
    int status = 0;
    if (child > 0) {
      while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
      }
    }
    child = -1;
    return status;
  }

  Message receive() const {
    std::optional<Message> message = receive_message(socket.get());
    if (!message) {
      shutdown(socket.get(), SHUT_RDWR);
      const int status = end();
      const bool slow = WIFSIGNALED(status) && (WTERMSIG(status) == SIGXCPU || WTERMSIG(status) == SIGKILL);
      throw InputError("{}: the file is damaged ({}). Try: another copy of it, or make it anew",
                       path.string(),
                       slow ? "reading it took all the time or memory that a file of its size may take"
                            : "HDF5 broke off while reading it");
    }
    const Json& body = message->body;
    if (body.contains("input")) throw InputError("{}", body["input"].get<std::string>());
    if (body.contains("memory")) throw EnvironmentError("{}: not enough memory to read it", path.string());
    if (!body.contains("value")) throw InternalError("{}: {}", path.string(), body.dump());
    return std::move(*message);
  }

  Message ask(const std::string& member, const std::string& object, const std::string& name) const {
    if (child < 0) throw InputError("{}: the file is damaged", path.string());
    const Json request = {{"member", member}, {"object", object}, {"name", name}};
    send_message(socket.get(), request, -1);  // a child that is gone is noticed by receive()
    return receive();
  }
};

ReaderProcess::ReaderProcess(const std::filesystem::path& path) : impl_(std::make_unique<Impl>()) {
  impl_->path = path;
  std::error_code code;
  impl_->file_bytes = std::filesystem::file_size(path, code);
  if (code) throw InputError("{}: {}", path.string(), code.message());
  int ends[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
    throw EnvironmentError("{}: no socket for the process that reads it ({})", path.string(),
                           std::strerror(errno));
  }
  impl_->socket = Descriptor(ends[0]);
  Descriptor other(ends[1]);
  impl_->child = fork();
  if (impl_->child == 0) {
    close(ends[0]);
    serve(ends[1], path, impl_->file_bytes);
  }
  if (impl_->child < 0) {
    throw EnvironmentError("{}: no process to read it in ({})", path.string(), std::strerror(errno));
  }
  other = Descriptor();
  impl_->receive();
}

ReaderProcess::~ReaderProcess() = default;

Json ReaderProcess::ask(const std::string& member, const std::string& object, const std::string& name) const {
  return impl_->ask(member, object, name).body["value"];
}

at::Tensor ReaderProcess::read(const std::string& dataset) const {
  const Message message = impl_->ask("read", dataset, "");
  const Json& array = message.body["value"];
  const auto shape = array["shape"].get<std::vector<int64_t>>();
  const auto dtype = static_cast<at::ScalarType>(array["dtype"].get<int>());
  const auto stored = dtype == at::kBool ? at::kChar : dtype;
  const auto bytes = array["bytes"].get<uint64_t>();
  if (bytes == 0) return at::empty(shape, at::dtype(dtype));
  struct stat info {};
  if (message.descriptor.get() < 0 || fstat(message.descriptor.get(), &info) != 0 ||
      static_cast<uint64_t>(info.st_size) != bytes) {
    throw InternalError("{}: {}: the reading process sent no values", impl_->path.string(), dataset);
  }
  void* values = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, message.descriptor.get(), 0);
  if (values == MAP_FAILED) throw EnvironmentError("{}: not enough memory to read it", impl_->path.string());
  const at::Tensor tensor = at::from_blob(
      values, shape, [bytes](void* memory) { munmap(memory, bytes); }, at::dtype(stored));
  return dtype == at::kBool ? tensor.to(at::kBool) : tensor;
}

}  // namespace ropescope
