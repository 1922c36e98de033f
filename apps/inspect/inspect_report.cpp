#include "inspect/inspect_report.h"

#include <algorithm>
#include <limits>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "inspect/inspect_estimate.h"
#include "inspect/inspect_layers.h"

namespace ropescope::app::inspect {

namespace fs = std::filesystem;

namespace {

std::string counted(int64_t count, const char* noun) {
  return fmt::format("{} {}{}", count, noun, count == 1 ? "" : "s");
}

std::string human_bytes(uint64_t bytes) { return bytes_text(static_cast<double>(bytes)); }

/// Saturating: shapes come from files.
int64_t numbers_of(const TensorInfo& info) {
  int64_t count = 1;
  for (const int64_t size : info.shape) {
    if (__builtin_mul_overflow(count, size, &count)) return std::numeric_limits<int64_t>::max();
  }
  return count;
}

struct Share {
  int64_t tensors = 0, numbers = 0;
  uint64_t bytes = 0;
};

std::map<std::string, Share> shares_of_types(const Checkpoint& checkpoint) {
  std::map<std::string, Share> shares;
  for (const TensorInfo& info : checkpoint.tensors()) {
    Share& share = shares[info.dtype];
    ++share.tensors;
    share.numbers += numbers_of(info);
    share.bytes += info.bytes;
  }
  return shares;
}

uint64_t bytes_of(const fs::path& path) {
  std::error_code code;
  const auto bytes = fs::file_size(path, code);
  return code ? 0 : bytes;
}

/// Every setting there is; null where the type does not use it or the checkpoint does not say.
Json rope_json(const RopeConfig& rope) {
  Json json = Json::object();
  for (const char* key : {"rope_type", "rope_theta", "factor", "original_max_position_embeddings",
                          "attention_factor", "mscale", "mscale_all_dim", "beta_fast", "beta_slow",
                          "truncate", "low_freq_factor", "high_freq_factor", "partial_rotary_factor"}) {
    json[key] = nullptr;
  }
  json.update(to_json(rope));
  return json;
}

Json config_json(const DecoderConfig& config) {
  Json json = decoder_sizes_json(config);
  json["attention_bias"] = config.attention_bias;
  json["attention_out_bias"] = config.attention_out_bias;
  json["mlp_bias"] = config.mlp_bias;
  json["eos_token_ids"] = config.eos_token_ids;
  json["bos_token_id"] = config.bos_token_id ? Json(*config.bos_token_id) : Json(nullptr);
  json["rope"] = rope_json(config.rope());
  return json;
}

const char* output_name(OutputMatrix output) {
  switch (output) {
    case OutputMatrix::kOwn:
      return "lm_head.weight";
    case OutputMatrix::kEmbedding:
      return "embedding";
    case OutputMatrix::kHeadForBoth:
      return "lm_head.weight for both";
    case OutputMatrix::kNone:
      break;
  }
  return "none";
}

std::string output_text(const InspectReport& report) {
  switch (report.output) {
    case OutputMatrix::kOwn:
      return report.tie_not_followed
                 ? "output apart from the embedding (they differ, though the configuration says tied)"
                 : "output apart from the embedding";
    case OutputMatrix::kEmbedding:
      return "output tied to the embedding";
    case OutputMatrix::kHeadForBoth:
      return "output tied to the embedding (stored as lm_head.weight alone)";
    case OutputMatrix::kNone:
      break;
  }
  return "no output matrix (a base model: no logits)";
}

std::string bias_text(const DecoderConfig& config) {
  std::vector<std::string> places;
  if (config.attention_bias) places.emplace_back("q, k, v");
  if (config.attention_out_bias) places.emplace_back("attention output");
  if (config.mlp_bias) places.emplace_back("MLP");
  return places.empty() ? "none" : fmt::format("{}", fmt::join(places, ", "));
}

const char* norm_name(NormKind norm) {
  switch (norm) {
    case NormKind::kRms:
      return "RMSNorm";
    case NormKind::kRmsAddOne:
      return "RMSNorm (1 + w)";
    case NormKind::kLayer:
      break;
  }
  return "LayerNorm";
}

std::string pairs_text(const InspectReport& report) {
  if (report.config->pairing == PairLayout::kAdjacent) return "adjacent (2i, 2i + 1), as stored";
  return report.rows_put_back ? "half-split (i, i + d/2); the file has them side by side, put back when taken"
                              : "half-split (i, i + d/2), as stored";
}

void row(const std::string& label, const std::string& text) { fmt::print("  {:<15} {}\n", label, text); }

void print_config(const InspectReport& report) {
  for (const auto& [label, text] : vision_rows(report.vision)) row(label, text);
  if (!report.config) {
    if (!report.vision.tower) row("architecture", "not known: " + report.no_config);
    return;
  }
  const DecoderConfig& config = *report.config;
  row("architecture", fmt::format("{} decoder, {} layers, hidden {}, MLP {} ({})", config.model_type,
                                  config.num_hidden_layers, config.hidden_size, config.intermediate_size,
                                  config.activation == GateActivation::kSilu ? "silu" : "gelu_tanh"));
  row("heads", fmt::format("{} query, {} key/value, head size {}", config.num_attention_heads,
                           config.num_key_value_heads, config.head_dim));
  if (config.ropes.size() == 1) row("rope", rope_text(config.rope()));
  row("pairs", pairs_text(report));
  for (const auto& [label, text] : layer_rows(config)) row(label, text);
  if (report.scheme) row("scheme", *report.scheme + ", as it was trained");
  if (config.rope_axes)
    row("own scheme", config.native_scheme() + ": position ids of frames, rows and columns");
  row("context", fmt::format("{} tokens", config.max_position_embeddings));
  row("vocabulary", fmt::format("{} ids, {}", config.vocab_size, output_text(report)));
  row("norm", fmt::format("{}, eps {:g}", norm_name(config.norm), config.rms_norm_eps));
  row("biases", bias_text(config));
}

std::string tokenizer_text(const TokenizerReport& tokenizer) {
  if (!tokenizer.error.empty()) return "unusable: " + tokenizer.error;
  if (tokenizer.description.empty()) return "none";
  return fmt::format("{}, {} ids", tokenizer.description, tokenizer.vocab_size);
}

}  // namespace

Json report_json(const InspectReport& report, const std::optional<EstimateRequest>& estimate) {
  Json tensors = Json::array();
  int64_t parameters = 0;
  for (const TensorInfo& info : report.checkpoint->tensors()) {
    parameters += numbers_of(info);
    tensors.push_back({{"name", info.name},
                       {"dtype", info.dtype},
                       {"shape", info.shape},
                       {"bytes", info.bytes},
                       {"file", info.file}});
  }
  Json dtypes = Json::object();
  for (const auto& [type, share] : shares_of_types(*report.checkpoint)) {
    dtypes[type] = {{"tensors", share.tensors}, {"parameters", share.numbers}, {"bytes", share.bytes}};
  }
  Json files = Json::array();
  for (const fs::path& path : report.checkpoint->files()) {
    files.push_back({{"name", path.filename().string()}, {"bytes", bytes_of(path)}});
  }
  Json json = {{"model", report.model},
               {"container", report.checkpoint->container()},
               {"files", files},
               {"tensors", tensors},
               {"parameters", parameters},
               {"dtypes", dtypes},
               {"config", report.config ? config_json(*report.config) : Json(nullptr)}};
  if (!report.config) json["config_error"] = report.no_config;
  add_vision_json(report.vision, json);
  if (report.config) {
    json["output_matrix"] = output_name(report.output);
    const bool adjacent = report.config->pairing == PairLayout::kAdjacent;
    json["pair_layout"] = adjacent ? "adjacent" : "half-split";
    json["stored_pair_layout"] = adjacent || report.rows_put_back ? "adjacent" : "half-split";
    json["layers"] = layers_json(*report.config);
    json["native_scheme"] = report.config->native_scheme();
  }
  json["scheme"] = report.scheme ? Json(*report.scheme) : Json(nullptr);
  const TokenizerReport& tokenizer = report.tokenizer;
  json["tokenizer"] = tokenizer.description.empty() ? Json(nullptr)
                                                    : Json{{"description", tokenizer.description},
                                                           {"vocab_size", tokenizer.vocab_size}};
  if (!tokenizer.error.empty()) json["tokenizer_error"] = tokenizer.error;
  if (estimate) json["estimate"] = estimate_json(report, *estimate);
  return json;
}

void print_report(const InspectReport& report, const std::optional<EstimateRequest>& estimate) {
  const Checkpoint& checkpoint = *report.checkpoint;
  fmt::print("{}\n", report.model);
  print_config(report);
  row("tokenizer", tokenizer_text(report.tokenizer));
  uint64_t bytes = 0;
  for (const fs::path& path : checkpoint.files()) bytes += bytes_of(path);
  row("container",
      fmt::format("{}, {}, {}", checkpoint.container(),
                  counted(static_cast<int64_t>(checkpoint.files().size()), "file"), human_bytes(bytes)));
  int64_t parameters = 0;
  for (const auto& [type, share] : shares_of_types(checkpoint)) parameters += share.numbers;
  row("parameters", fmt::format("{} in {} tensors", parameters, checkpoint.tensors().size()));
  for (const auto& [type, share] : shares_of_types(checkpoint)) {
    row("  " + type, fmt::format("{}, {}, {}", counted(share.tensors, "tensor"),
                                 counted(share.numbers, "number"), human_bytes(share.bytes)));
  }
  if (!estimate) return;
  for (const auto& [label, text] : estimate_rows(report, *estimate)) row(label, text);
}

void print_tensor_list(const Checkpoint& checkpoint) {
  size_t width = 0;
  for (const TensorInfo& info : checkpoint.tensors()) width = std::max(width, info.name.size());
  fmt::print("\n");
  for (const TensorInfo& info : checkpoint.tensors()) {
    fmt::print("  {:<{}}  {:<6} [{}]\n", info.name, width, info.dtype, fmt::join(info.shape, ", "));
  }
}

void print_tensor_csv(const Checkpoint& checkpoint) {
  fmt::print("name,dtype,shape,bytes,file\n");
  for (const TensorInfo& info : checkpoint.tensors()) {
    fmt::print("{},{},{},{},{}\n", info.name, info.dtype, fmt::join(info.shape, "x"), info.bytes, info.file);
  }
}

}  // namespace ropescope::app::inspect
