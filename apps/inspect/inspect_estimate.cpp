#include "inspect/inspect_estimate.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iterator>

#include <fmt/format.h>

#include <ATen/ops/linear.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/ScalarType.h>

#include "ropescope/architectures/decoder_memory.h"
#include "ropescope/core/device.h"
#include "ropescope/models/streamed_weights.h"

namespace ropescope::app::inspect {

namespace {

struct Estimate {
  double weights, kv_cache_per_1000_tokens, activations, logits;
  double vision_weights, vision_activations;  // 0 without a vision tower
  double total;                               // to answer a prompt of all tokens: logits of its last one only
  double streamed;                      // one pass of all tokens with streamed weights, nothing generated
  double read;                          // from the disk, for each wave of streamed texts
  double products_per_second, seconds;  // of this machine; of the decoder's pass
};

/// Multiply-adds times two a second, of products as wide as the decoder's: measured for about a second.
double products_per_second(const DecoderConfig& config, int64_t tokens, at::ScalarType dtype) {
  using Clock = std::chrono::steady_clock;
  const c10::InferenceMode no_gradients;
  const int64_t in = std::min<int64_t>(config.hidden_size, 4096),
                rows = std::clamp<int64_t>(tokens, 16, 1024);
  const at::Tensor x = at::zeros({rows, in}, dtype), weight = at::zeros({in, in}, dtype);
  at::linear(x, weight);
  const auto start = Clock::now();
  double products = 0, seconds = 0;
  do {
    at::linear(x, weight);
    products += 2.0 * static_cast<double>(rows) * static_cast<double>(in) * static_cast<double>(in);
    seconds = std::chrono::duration<double>(Clock::now() - start).count();
  } while (seconds < 1);
  return products / seconds;
}

Estimate estimate_of(const InspectReport& report, const EstimateRequest& request) {
  DecoderConfig config = *report.config;
  if (report.output == OutputMatrix::kNone) config.tie_word_embeddings = true;  // one matrix is there
  const DecoderMemory memory = estimate_decoder_memory(config, report.model);
  const VisionShare vision = vision_share(report.vision, report.model);
  const auto width = static_cast<double>(c10::elementSize(request.dtype));
  const auto tokens = static_cast<double>(request.tokens);
  Estimate estimate{};
  estimate.weights = width * static_cast<double>(memory.parameters);
  estimate.kv_cache_per_1000_tokens = width * 1000 * static_cast<double>(memory.kv_cache_per_token);
  estimate.activations = width * tokens * static_cast<double>(memory.activations_per_token);
  const double logits_of_one = sizeof(float) * static_cast<double>(memory.logits_per_token);
  estimate.logits = tokens * logits_of_one;
  estimate.vision_weights = width * static_cast<double>(vision.parameters);
  estimate.vision_activations = width * static_cast<double>(vision.activations);
  // Images are encoded before the decoder runs.
  estimate.total = estimate.weights + estimate.vision_weights + logits_of_one +
                   tokens / 1000 * estimate.kv_cache_per_1000_tokens +
                   std::max(estimate.activations, estimate.vision_activations);
  // The tower is smaller than the decoder, and gone before it runs.
  estimate.streamed = (1 + StreamedWeights::kAhead) * width * static_cast<double>(memory.layer_parameters) +
                      std::max(estimate.activations, estimate.vision_activations);
  for (const TensorInfo& info : report.checkpoint->tensors())
    estimate.read += static_cast<double>(info.bytes);
  estimate.products_per_second = products_per_second(config, request.tokens, request.dtype);
  estimate.seconds = 2 *
                     (tokens * static_cast<double>(memory.products_per_token) +
                      tokens * tokens / 2 * static_cast<double>(memory.products_per_pair)) /
                     estimate.products_per_second;
  return estimate;
}

std::string duration_text(double seconds) {
  if (seconds < 100) return fmt::format("{:.2g} s", seconds);
  return seconds < 6000 ? fmt::format("{:.0f} min", seconds / 60) : fmt::format("{:.1f} h", seconds / 3600);
}

}  // namespace

std::string bytes_text(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return fmt::format("{:.{}f} {}", bytes, unit == 0 ? 0 : 1, kUnits[unit]);
}

Json estimate_json(const InspectReport& report, const EstimateRequest& request) {
  if (!report.config) return nullptr;
  const Estimate estimate = estimate_of(report, request);
  return {{"dtype", dtype_name(request.dtype)},
          {"tokens", request.tokens},
          {"weights_bytes", estimate.weights},
          {"kv_cache_bytes_per_1000_tokens", estimate.kv_cache_per_1000_tokens},
          {"activations_bytes", estimate.activations},
          {"logits_bytes", estimate.logits},
          {"vision_weights_bytes", estimate.vision_weights},
          {"vision_activations_bytes", estimate.vision_activations},
          {"total_bytes", estimate.total},
          {"streamed_bytes", estimate.streamed},
          {"read_bytes", estimate.read},
          {"measured_flops_per_second", estimate.products_per_second},
          {"pass_seconds", estimate.seconds}};
}

std::vector<std::pair<std::string, std::string>> estimate_rows(const InspectReport& report,
                                                               const EstimateRequest& request) {
  if (!report.config) return {{"memory", "not known without the architecture"}};
  const Estimate estimate = estimate_of(report, request);
  std::vector<std::pair<std::string, std::string>> rows = {
      {"memory in", dtype_name(request.dtype)},
      {"weights", bytes_text(estimate.weights)},
      {"KV cache", bytes_text(estimate.kv_cache_per_1000_tokens) + " per 1000 tokens"},
      {"activations",
       fmt::format("{} for {} tokens at once", bytes_text(estimate.activations), request.tokens)},
      {"logits", fmt::format("{} for all {} tokens (float32)", bytes_text(estimate.logits), request.tokens)}};
  if (estimate.vision_weights > 0) {
    // A picture of more patches than go at once goes alone, and takes more in proportion.
    const bool packed = report.vision.tower && report.vision.tower->packed;
    rows.emplace_back(
        "vision", fmt::format("{} for tower and connector, {} while they run{}",
                              bytes_text(estimate.vision_weights), bytes_text(estimate.vision_activations),
                              packed ? fmt::format(" ({} patches at once)", kPatchesAtOnce) : ""));
  }
  constexpr double kCard = 24.0 * (1 << 30);
  rows.emplace_back("resident", fmt::format("{} to answer a prompt of {} tokens (a card of 24 GiB {})",
                                            bytes_text(estimate.total), request.tokens,
                                            estimate.total < 0.95 * kCard ? "does" : "is too small"));
  rows.emplace_back("streamed",
                    fmt::format("{} to measure {} tokens (--weights streamed), {} read from the disk a wave",
                                bytes_text(estimate.streamed), request.tokens, bytes_text(estimate.read)));
  rows.emplace_back(
      "time",
      fmt::format("about {} for a pass of {} tokens, at the {:.0f} GFLOP/s that this machine's CPU just did",
                  duration_text(estimate.seconds), request.tokens, estimate.products_per_second / 1e9));
  return rows;
}

}  // namespace ropescope::app::inspect
