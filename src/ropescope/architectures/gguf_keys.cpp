#include "ropescope/architectures/gguf_keys.h"

#include <algorithm>
#include <unordered_set>

#include "ropescope/architectures/families/common.h"
#include "ropescope/architectures/shortest_decimal.h"
#include "ropescope/core/errors.h"
#include "ropescope/weights/warn_once.h"

namespace ropescope {

bool GgufKeys::is_array(const std::string& key) const {
  const auto found = metadata_.find(prefix_ + key);
  return found != metadata_.end() && std::holds_alternative<std::shared_ptr<const GgufArray>>(found->second);
}

std::vector<int64_t> GgufKeys::layer_integers(const std::string& key, int64_t layers) const {
  constexpr int64_t kMostLayers = 100'000;
  if (layers < 1 || layers > kMostLayers) {
    throw InputError("{}: {}: expected a number from 1 to {}, found {}", what_, name("block_count"),
                     kMostLayers, layers);
  }
  if (!is_array(key)) return std::vector<int64_t>(static_cast<size_t>(layers), integer(key));
  std::vector<int64_t> numbers = gguf_integers(metadata_, prefix_ + key, what_);
  if (numbers.size() < static_cast<size_t>(layers)) {
    throw InputError("{}: {}: expected {} numbers, one a layer, found {}", what_, name(key), layers,
                     numbers.size());
  }
  numbers.resize(static_cast<size_t>(layers));  // (what is beyond predicts further tokens)
  return numbers;
}

GgufFile::GgufFile(const GgufContents& parsed, std::span<const std::byte> image, const std::string& name)
    : contents(parsed),
      bytes(image),
      keys(parsed.metadata, gguf_string(parsed.metadata, "general.architecture", name), name),
      what(name) {}

std::vector<float> GgufFile::numbers(const GgufTensor& tensor, int64_t count) const {
  const std::vector<int64_t> expected = {count};
  if (tensor.shape != expected || tensor.type != GgmlType::kF32) {
    throw InputError("{}: tensor \"{}\": expected {} numbers in F32", what, tensor.name, count);
  }
  std::vector<float> numbers(static_cast<size_t>(count));
  ggml_type_traits(tensor.type)->decode(bytes.data() + tensor.offset, numbers.data(), count);
  return numbers;
}

int64_t GgufFile::layers() const {
  return keys.integer("block_count") - keys.integer_or("nextn_predict_layers", 0);
}

Json gguf_kinds(const GgufFile& file, int64_t period) {
  constexpr const char* kPattern = "attention.sliding_window_pattern";
  const int64_t layers = file.layers();
  Json kinds = Json::array();
  if (file.keys.is_array(kPattern)) {
    for (const int64_t slides : file.keys.layer_integers(kPattern, layers)) {
      kinds.push_back(slides != 0 ? families::kSliding : families::kFull);
    }
    return kinds;
  }
  const int64_t given = file.keys.integer_or(kPattern, period);
  if (given < 1)
    throw InputError("{}: {}: expected at least 1, found {}", file.what, file.keys.name(kPattern), given);
  const families::KindOf kind_of = families::full_every(given);
  for (int64_t layer = 0; layer < std::min<int64_t>(layers, 100'000); ++layer)
    kinds.push_back(kind_of(layer));
  return kinds;
}

std::vector<int64_t> gguf_layers_without(const GgufFile& file, const std::string& name) {
  std::unordered_set<std::string> names;
  for (const GgufTensor& tensor : file.contents.tensors) names.insert(tensor.name);
  std::vector<int64_t> layers;
  const int64_t count = std::min<int64_t>(file.layers(), 100'000);
  for (int64_t layer = 0; layer < count; ++layer) {
    if (names.count(fmt::format("blk.{}.{}", layer, name)) == 0) layers.push_back(layer);
  }
  return layers;
}

double gguf_gemma_scalar(const GgufFile& file, const Json& config, int64_t layers_of_largest,
                         std::initializer_list<int64_t> published) {
  const int64_t layers = config["num_hidden_layers"];
  const int64_t heads = config["num_attention_heads"];
  const int64_t head_dim = config["head_dim"];
  if (std::find(published.begin(), published.end(), layers) == published.end()) {
    warn_once(fmt::format(
        "{}: the file does not say what scores are scaled by; 1 / sqrt({}), the head size, is taken",
        file.what, head_dim));
  }
  if (layers != layers_of_largest || heads < 1) return static_cast<double>(head_dim);
  return static_cast<double>(config["hidden_size"].get<int64_t>()) / static_cast<double>(heads);
}

int64_t gguf_vocabulary_size(const GgufFile& file) {
  // The embedding decides: a tokenizer may know fewer tokens than the padded table has rows.
  const GgufTensor* embedding = file.contents.find("token_embd.weight");
  if (embedding != nullptr && embedding->shape.size() == 2) return embedding->shape[0];
  if (file.keys.has("vocab_size")) return file.keys.integer("vocab_size");
  return static_cast<int64_t>(
      gguf_strings(file.contents.metadata, "tokenizer.ggml.tokens", file.what).size());
}

void read_gguf_tokens(const GgufMetadata& metadata, int64_t vocab_size, std::vector<int64_t>& eos,
                      std::optional<int64_t>& bos, const std::string& what) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    const int64_t id = gguf_integer_or(metadata, key, -1, what);
    if (id >= 0 && id < vocab_size && std::find(eos.begin(), eos.end(), id) == eos.end()) eos.push_back(id);
  }
  const int64_t begin = gguf_integer_or(metadata, "tokenizer.ggml.bos_token_id", -1, what);
  if (begin >= 0 && begin < vocab_size) bos = begin;
}

Json gguf_common_json(const GgufFile& file, const std::string& model_type) {
  const GgufKeys& keys = file.keys;
  Json config = {{"model_type", model_type},
                 {"hidden_size", keys.integer("embedding_length")},
                 {"num_hidden_layers", file.layers()},
                 {"num_attention_heads", keys.integer("attention.head_count")},
                 {"max_position_embeddings", keys.integer("context_length")},
                 {"tie_word_embeddings", !file.has_tensor("output.weight")},
                 {"attention_bias", file.has_tensor("blk.0.attn_q.bias")}};
  const int64_t heads = config["num_attention_heads"];
  const int64_t hidden = config["hidden_size"];
  if (!keys.is_array("feed_forward_length") && keys.has("feed_forward_length")) {
    config["intermediate_size"] = keys.integer("feed_forward_length");
  }
  if (!keys.is_array("attention.head_count_kv")) {
    config["num_key_value_heads"] = keys.integer_or("attention.head_count_kv", heads);
  }
  if (keys.has("attention.key_length")) {
    config["head_dim"] = keys.integer("attention.key_length");
  } else if (heads > 0 && hidden % heads == 0) {
    config["head_dim"] = hidden / heads;
  } else {
    throw InputError("{}: expected {} to divide {}, found {} and {}", file.what,
                     keys.name("attention.head_count"), keys.name("embedding_length"), heads, hidden);
  }
  const char* eps = keys.has("attention.layer_norm_epsilon") ? "attention.layer_norm_epsilon"
                                                             : "attention.layer_norm_rms_epsilon";
  if (keys.has(eps)) {
    const char* key = eps == std::string("attention.layer_norm_epsilon") ? "layer_norm_eps" : "rms_norm_eps";
    config[key] = shortest_decimal(keys.number_or(eps, 0));
  }
  config["vocab_size"] = gguf_vocabulary_size(file);
  std::vector<int64_t> eos;
  std::optional<int64_t> bos;
  read_gguf_tokens(file.contents.metadata, config["vocab_size"], eos, bos, file.what);
  config["eos_token_id"] = eos;
  config["bos_token_id"] = bos ? Json(*bos) : Json();
  return config;
}

}  // namespace ropescope
