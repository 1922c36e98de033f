#include "ropescope/weights/safetensors.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <string_view>
#include <utility>

#include "ropescope/core/errors.h"
#include "ropescope/core/json.h"

namespace ropescope {

namespace {

constexpr uint64_t kLengthBytes = 8;
// {name: {"shape": [...]}} is as deep as a header gets.
constexpr int kMaxHeaderDepth = 4;

uint64_t read_header_length(std::span<const std::byte> bytes) {
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(bytes[i]) << (8 * i);
  return length;
}

std::string shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  return text.size() > 60 ? text.substr(0, 60) + "..." : text;
}

uint64_t whole_number(const Json& value, const std::string& what) {
  if (!value.is_number_unsigned()) {
    throw InputError("{}: expected whole numbers of at least 0, found {}", what, shown(value));
  }
  return value.get<uint64_t>();
}

const Json& field(const Json& entry, const char* key, const std::string& what) {
  const auto found = entry.find(key);
  if (found == entry.end()) throw InputError("{}: \"{}\" is missing", what, key);
  return *found;
}

StoredTensor parse_entry(const std::string& name, const Json& entry, const FileBytes& file,
                         std::span<const std::byte> data, uint64_t& begin) {
  const std::string what = fmt::format("{}: tensor \"{}\"", file.path.string(), name);
  if (!entry.is_object()) throw InputError("{}: expected a JSON object, found {}", what, shown(entry));
  for (const auto& item : entry.items()) {
    const std::string& key = item.key();
    if (key != "dtype" && key != "shape" && key != "data_offsets") {
      throw InputError("{}: expected the keys dtype, shape and data_offsets only, found \"{}\"", what, key);
    }
  }
  StoredTensor tensor;
  tensor.info.name = name;
  tensor.info.file = file.path.filename().string();
  tensor.owner = file.owner;

  const Json& dtype = field(entry, "dtype", what);
  tensor.type = dtype.is_string() ? find_stored_type(dtype.get<std::string>()) : nullptr;
  if (tensor.type == nullptr) {
    throw InputError("{}: expected a dtype such as F32 or BF16, found {}", what, shown(dtype));
  }
  tensor.info.dtype = tensor.type->name;

  const Json& shape = field(entry, "shape", what);
  if (!shape.is_array() || shape.size() > kMaxDimensions) {
    throw InputError("{}: expected a shape of at most {} dimensions, found {}", what, kMaxDimensions,
                     shown(shape));
  }
  for (const Json& size : shape) {
    const uint64_t extent = whole_number(size, what + ": shape");
    if (extent > static_cast<uint64_t>(INT64_MAX)) {
      throw InputError("{}: the shape {} does not fit in 64 bits", what, shown(shape));
    }
    tensor.info.shape.push_back(static_cast<int64_t>(extent));
  }

  const Json& offsets = field(entry, "data_offsets", what);
  if (!offsets.is_array() || offsets.size() != 2) {
    throw InputError("{}: expected two data_offsets, found {}", what, shown(offsets));
  }
  begin = whole_number(offsets[0], what + ": data_offsets");
  const uint64_t end = whole_number(offsets[1], what + ": data_offsets");
  if (end < begin || end > data.size()) {
    throw InputError("{}: expected data_offsets inside the {} bytes of data, found [{}, {}]{}", what,
                     data.size(), begin, end, end < begin ? "" : "; the file may be cut short");
  }

  const auto count = count_elements(tensor.info.shape);
  uint64_t bits = 0;
  if (!count || __builtin_mul_overflow(static_cast<uint64_t>(*count), tensor.type->bits, &bits)) {
    throw InputError("{}: the size of shape {} does not fit in 64 bits", what, shown(shape));
  }
  if (bits % 8 != 0 || bits / 8 != end - begin) {
    throw InputError("{}: expected {} bytes for {} {}, found {} (data_offsets [{}, {}])", what,
                     (bits + 7) / 8, tensor.info.dtype, shown(shape), end - begin, begin, end);
  }
  tensor.info.bytes = end - begin;
  tensor.elements = data.subspan(begin, end - begin);
  return tensor;
}

/// Gives every entry of a header to `finish` as soon as it is read: a tree of the whole would take many times
/// the header's size.
class HeaderHandler final : public nlohmann::json_sax<Json> {
 public:
  using Finish = std::function<void(const std::string& name, const Json& entry)>;
  HeaderHandler(const std::string& what, Finish finish) : what_(what), finish_(std::move(finish)) {}

  bool null() override { return value(nullptr); }
  bool boolean(bool given) override { return value(given); }
  bool number_integer(Json::number_integer_t given) override { return value(given); }
  bool number_unsigned(Json::number_unsigned_t given) override { return value(given); }
  bool number_float(Json::number_float_t given, const std::string& /*text*/) override { return value(given); }
  bool string(std::string& given) override { return value(std::move(given)); }
  bool binary(Json::binary_t& /*given*/) override { return false; }
  bool start_object(size_t /*size*/) override { return start(Json::object()); }
  bool end_object() override { return end(); }
  bool start_array(size_t /*size*/) override { return start(Json::array()); }
  bool end_array() override { return end(); }

  bool key(std::string& given) override {
    if (depth_ == 1) {
      name_ = std::move(given);
      values_ = 0;
      in_metadata_ = name_ == "__metadata__";
      if (in_metadata_ && std::exchange(has_metadata_, true)) twice(name_);
    } else if (!in_metadata_) {
      if (open_.back().contains(given)) twice(given);
      keys_.push_back(std::move(given));
    }
    return true;
  }

  bool parse_error(size_t /*position*/, const std::string& /*token*/,
                   const nlohmann::detail::exception& error) override {
    throw InputError("{}: not valid JSON ({})", what_, error.what());
  }

 private:
  // More than a sound entry has: what comes after is not kept, and the entry is refused for what is.
  static constexpr size_t kMostValues = 2 * kMaxDimensions, kMostKeys = 8;

  [[noreturn]] void twice(const std::string& key) const {
    throw InputError("{}: JSON has the key \"{}\" twice in one object", what_, key);
  }
  [[noreturn]] void bad_metadata() const {
    throw InputError("{}: __metadata__: expected an object of texts", what_);
  }

  bool value(Json given) {
    if (in_metadata_) {
      if (depth_ != 2 || !given.is_string()) bad_metadata();
    } else {
      put(std::move(given));
    }
    return true;
  }

  bool start(Json container) {
    if (++depth_ > kMaxHeaderDepth) {
      throw InputError("{}: JSON nests deeper than {} levels", what_, kMaxHeaderDepth);
    }
    if (depth_ == 1) return true;
    if (in_metadata_) {
      if (depth_ != 2 || !container.is_object()) bad_metadata();
    } else {
      open_.push_back(std::move(container));
    }
    return true;
  }

  bool end() {
    --depth_;
    if (depth_ == 0 || in_metadata_) return true;
    Json whole = std::move(open_.back());
    open_.pop_back();
    put(std::move(whole));
    return true;
  }

  void put(Json given) {
    if (open_.empty()) {
      finish_(name_, given);
      return;
    }
    Json& container = open_.back();
    if (container.is_array()) {
      if (++values_ <= kMostValues) container.push_back(std::move(given));
      return;
    }
    if (container.size() < kMostKeys) container[keys_.back()] = std::move(given);
    keys_.pop_back();
  }

  const std::string& what_;
  Finish finish_;
  int depth_ = 0;
  std::string name_;
  bool in_metadata_ = false, has_metadata_ = false;
  std::vector<Json> open_;  // containers of the entry that is being read
  std::vector<std::string> keys_;
  size_t values_ = 0;  // of all arrays in the entry
};

/// At most as many tensors as a header can hold: each has four colons and some fifty bytes.
size_t most_tensors(std::string_view header) {
  constexpr size_t kColons = 4, kShortest = 50;
  const auto colons = static_cast<size_t>(std::count(header.begin(), header.end(), ':'));
  return std::min(colons / kColons, header.size() / kShortest);
}

void check_names(const std::vector<StoredTensor>& tensors, const std::string& what) {
  std::vector<std::string_view> names;
  names.reserve(tensors.size());
  for (const StoredTensor& tensor : tensors) names.push_back(tensor.info.name);
  std::sort(names.begin(), names.end());
  const auto twin = std::adjacent_find(names.begin(), names.end());
  if (twin != names.end()) throw InputError("{}: JSON has the key \"{}\" twice in one object", what, *twin);
}

// The ranges must cover the data from first to last byte: what two tensors share or nobody names is damage.
void check_ranges(std::vector<std::pair<uint64_t, const StoredTensor*>>& ranges, uint64_t data_bytes,
                  const std::string& what) {
  std::sort(ranges.begin(), ranges.end(), [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first < b.first : a.second->info.bytes < b.second->info.bytes;
  });
  uint64_t expected = 0;
  for (const auto& [begin, tensor] : ranges) {
    if (begin != expected) {
      throw InputError(
          "{}: tensor \"{}\": expected its data at offset {}, found {} ({})", what, tensor->info.name,
          expected, begin,
          begin < expected ? "it overlaps another tensor" : "the bytes between belong to no tensor");
    }
    expected = begin + tensor->info.bytes;
  }
  if (expected != data_bytes) {
    throw InputError("{}: expected {} bytes of data, found {}", what, expected, data_bytes);
  }
}

}  // namespace

bool looks_like_safetensors(std::span<const std::byte> bytes) {
  return bytes.size() > kLengthBytes && bytes[kLengthBytes] == std::byte{'{'} &&
         read_header_length(bytes) <= kMostSafetensorsHeader;
}

std::vector<StoredTensor> parse_safetensors(const FileBytes& file) {
  const std::string what = file.path.string();
  if (file.bytes.size() < kLengthBytes) {
    throw InputError("{}: expected a safetensors file, found only {} bytes", what, file.bytes.size());
  }
  const uint64_t length = read_header_length(file.bytes);
  const uint64_t rest = file.bytes.size() - kLengthBytes;
  if (length > rest || length > kMostSafetensorsHeader) {
    throw InputError("{}: expected a safetensors header within {} bytes, found a header length of {}", what,
                     std::min(rest, kMostSafetensorsHeader), length);
  }
  const std::string_view text(reinterpret_cast<const char*>(file.bytes.data()) + kLengthBytes, length);
  if (text.empty() || text[0] != '{') {
    throw InputError("{}: expected a safetensors header that starts with '{{'", what);
  }
  const std::string header_what = what + ": safetensors header";
  const auto data = file.bytes.subspan(kLengthBytes + length);

  std::vector<StoredTensor> tensors;
  std::vector<uint64_t> begins;
  tensors.reserve(most_tensors(text));
  begins.reserve(tensors.capacity());
  HeaderHandler handler(header_what, [&](const std::string& name, const Json& entry) {
    uint64_t begin = 0;
    tensors.push_back(parse_entry(name, entry, file, data, begin));
    begins.push_back(begin);
  });
  Json::sax_parse(text.begin(), text.end(), &handler);
  check_names(tensors, header_what);
  std::vector<std::pair<uint64_t, const StoredTensor*>> ranges;
  ranges.reserve(tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) ranges.emplace_back(begins[i], &tensors[i]);
  check_ranges(ranges, data.size(), what);
  return tensors;
}

}  // namespace ropescope
