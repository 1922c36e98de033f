// A GGUF file's metadata by keys without the prefix of its architecture, and what families read from it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ropescope/architectures/decoder_config.h"
#include "ropescope/weights/gguf.h"

namespace ropescope {

/// Metadata of one architecture: keys are given without its prefix.
class GgufKeys {
 public:
  GgufKeys(const GgufMetadata& metadata, std::string architecture, const std::string& what)
      : metadata_(metadata), prefix_(std::move(architecture) + "."), what_(what) {}

  bool has(const std::string& key) const { return metadata_.count(prefix_ + key) > 0; }
  int64_t integer(const std::string& key) const { return gguf_integer(metadata_, prefix_ + key, what_); }
  int64_t integer_or(const std::string& key, int64_t fallback) const {
    return gguf_integer_or(metadata_, prefix_ + key, fallback, what_);
  }
  double number_or(const std::string& key, double fallback) const {
    return gguf_number_or(metadata_, prefix_ + key, fallback, what_);
  }
  std::string string_or(const std::string& key, const std::string& fallback) const {
    return gguf_string_or(metadata_, prefix_ + key, fallback, what_);
  }
  bool bool_or(const std::string& key, bool fallback) const {
    return gguf_bool_or(metadata_, prefix_ + key, fallback, what_);
  }
  /// One number for all layers, or one a layer; `layers` of them.
  std::vector<int64_t> layer_integers(const std::string& key, int64_t layers) const;
  bool is_array(const std::string& key) const;
  std::string name(const std::string& key) const { return prefix_ + key; }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
  const std::string& what_;
};

/// An opened file whose architecture is known.
struct GgufFile {
  const GgufContents& contents;
  std::span<const std::byte> bytes;
  GgufKeys keys;
  const std::string& what;

  GgufFile(const GgufContents& parsed, std::span<const std::byte> image, const std::string& name);
  bool has_tensor(const std::string& name) const { return contents.find(name) != nullptr; }
  /// Numbers of a tensor in F32. Throws InputError for another type or size.
  std::vector<float> numbers(const GgufTensor& tensor, int64_t count) const;
  /// block_count without the layers that only predict further tokens.
  int64_t layers() const;
};

/// How a family's files tell yarn's factor on cos and sin.
struct GgufYarn {
  bool attn_factor_is_whole =
      true;                   ///< yarn_attn_factor is the factor itself, else it multiplies 0.1 ln k + 1
  double all_dim_of_log = 0;  ///< > 0: mscale_all_dim = this * yarn_log_multiplier; 0: that key is refused
};

/// `rope.scaling.*` into `rope`, which has its base already.
void read_gguf_scaling(RopeConfig& rope, const GgufKeys& keys, const GgufYarn& yarn, const std::string& what);
/// Tensor rope_freqs.weight, if there is one, as the llama3 settings that it was made from.
void read_gguf_factors(RopeConfig& rope, int64_t head_dim, const GgufFile& file);
/// Base, rotated share, scaling and factors.
RopeConfig gguf_rope(const GgufFile& file, int64_t head_dim, const GgufYarn& yarn = {});
/// The same for files whose rows of q and k are put back over whole heads: all channels have to turn.
RopeConfig gguf_whole_rope(const GgufFile& file, int64_t head_dim, const GgufYarn& yarn = {});
/// "sliding_attention" or "full_attention" a layer: `attention.sliding_window_pattern` (a list, or a period), by default
/// every `period`-th is full.
Json gguf_kinds(const GgufFile& file, int64_t period);

/// The keys of config.json that all families have, from a file's metadata and tensors.
Json gguf_common_json(const GgufFile& file, const std::string& model_type);
/// Layers that have no tensor of this name ("ffn_gate_inp.weight").
std::vector<int64_t> gguf_layers_without(const GgufFile& file, const std::string& name);
/// Gemma's query_pre_attn_scalar, which is not in the file: the head size, but in the largest model, which has so many
/// layers, hidden size / heads. Warns of a number of layers that no published model has.
double gguf_gemma_scalar(const GgufFile& file, const Json& config, int64_t layers_of_largest,
                         std::initializer_list<int64_t> published);
/// Tokens that end a text or begin it.
void read_gguf_tokens(const GgufMetadata& metadata, int64_t vocab_size, std::vector<int64_t>& eos,
                      std::optional<int64_t>& bos, const std::string& what);
int64_t gguf_vocabulary_size(const GgufFile& file);

/// Llama and Qwen2, whose converters have changed least.
DecoderConfig gguf_llama_config(const GgufContents& contents, std::span<const std::byte> bytes,
                                const std::string& what);

}  // namespace ropescope
