// ropescope's side of bench/stream: seconds of sampling given texts with weights in memory or streamed, and of the same
// matrix products alone in the same process, as JSON on stdout.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include <ATen/ops/linear.h>
#include <ATen/ops/randn.h>
#include <c10/core/InferenceMode.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/device.h"
#include "ropescope/core/json.h"
#include "ropescope/models/decoder.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/probe/sampler.h"
#include "ropescope/text/tokenizer.h"

#include "apps/flags.h"
#include "bench/stage_main.h"

namespace ropescope {

namespace {

using bench::seconds_of;

struct StageFlags {
  std::string model, texts, weights = "streamed", dtype = "float32";
  int64_t threads = 0, max_texts = 12, max_tokens = 160, pass_tokens = 2048, rounds = 1;
  bool help = false;

  void bind(app::Flags& flags) {
    flags.group("ropescope's stages of bench/stream");
    flags.add("model", model, "a folder or .gguf file").required();
    flags.add("texts", texts, "JSON lines with `text`").required();
    flags.add("weights", weights, "where they are").one_of({"resident", "streamed"});
    flags.add("dtype", dtype, "of weights").one_of({"float32", "bfloat16"});
    flags.add("threads", threads, "0: all").at_least(0);
    flags.add("max-texts", max_texts, "texts").at_least(1);
    flags.add("max-tokens", max_tokens, "of one text").at_least(1);
    flags.add("pass-tokens", pass_tokens, "of a packed pass").at_least(1);
    flags.add("rounds", rounds, "passes and products in turn").at_least(1);
    flags.add("help", help, "this text");
  }
};

/// Highest RssAnon of this process, looked at every 10 ms.
class PrivateMemory {
 public:
  PrivateMemory() : thread_([this] { watch(); }) {}
  ~PrivateMemory() {
    stop_ = true;
    thread_.join();
  }
  double peak_bytes() const { return 1024.0 * static_cast<double>(peak_kib_); }

 private:
  void watch() {
    while (!stop_) {
      std::ifstream status("/proc/self/status");
      for (std::string line; std::getline(status, line);) {
        if (line.starts_with("RssAnon:"))
          peak_kib_ = std::max<int64_t>(peak_kib_, std::stoll(line.substr(8)));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

  std::atomic<bool> stop_ = false;
  std::atomic<int64_t> peak_kib_ = 0;
  std::thread thread_;
};

/// Every product that the passes take, with one layer's matrices: all of them but in the last layer, which shows q and k
/// and stops.
double products_alone(const DecoderConfig& config, const std::vector<int64_t>& pass_tokens,
                      at::ScalarType dtype) {
  DecoderWeights weights;
  weights.layers.resize(static_cast<size_t>(config.num_hidden_layers));
  std::vector<at::Tensor> matrices;
  std::vector<bool> shown;
  for (const TensorSlot& slot : layer_slots(config, 0, weights)) {
    if (slot.shape.size() != 2) continue;
    matrices.push_back(at::randn(slot.shape, dtype));
    shown.push_back(slot.kind == TensorKind::kQuery || slot.kind == TensorKind::kKey);
  }
  double seconds = 0;
  for (int64_t layer = 0; layer < config.num_hidden_layers; ++layer) {
    for (const int64_t tokens : pass_tokens) {
      for (size_t m = 0; m < matrices.size(); ++m) {
        if (layer + 1 == config.num_hidden_layers && !shown[m]) continue;
        const at::Tensor x = at::randn({tokens, matrices[m].size(1)}, dtype);
        seconds += seconds_of([&] { at::linear(x, matrices[m]); });
      }
    }
  }
  return seconds;
}

void measure(const StageFlags& flags) {
  const c10::InferenceMode inference;
  set_threads(static_cast<int>(flags.threads));
  TextLimits limits;
  limits.max_texts = flags.max_texts;
  limits.max_tokens = flags.max_tokens;
  const TextSet texts = load_texts(flags.texts, CorpusForm::kJsonl, *load_tokenizer(flags.model), limits);
  const DecoderConfig config = read_decoder_config(flags.model);
  LoadOptions load;
  load.dtype = parse_dtype(flags.dtype, load.device);
  load.with_lm_head = false;
  load.weights = flags.weights == "streamed" ? WeightMode::kStreamed : WeightMode::kResident;
  SampleOptions options;
  options.tokens_per_pass = flags.pass_tokens;
  Json report;
  std::vector<double> forward, products;
  {
    const PrivateMemory memory;
    Decoder decoder;
    report["load_s"] =
        seconds_of([&] { decoder = load_decoder(open_checkpoint(flags.model), config, load); });
    for (int64_t round = 0; round < flags.rounds; ++round) {
      forward.push_back(seconds_of([&] { sample_texts(decoder, texts, options); }));
      if (round == 0) report["private_bytes"] = memory.peak_bytes();
      std::vector<int64_t> tokens;
      for (const auto& pack : pack_texts(texts.lengths(), flags.pass_tokens)) {
        int64_t sum = 0;
        for (const int64_t text : pack) sum += texts.lengths()[static_cast<size_t>(text)];
        tokens.push_back(sum);
      }
      products.push_back(products_alone(config, tokens, load.dtype));
    }
  }
  int64_t tokens = 0;
  for (const int64_t length : texts.lengths()) tokens += length;
  report["tokens"] = tokens;
  report["forward_s"] = forward;
  report["products_s"] = products;
  std::printf("%s\n", report.dump().c_str());
}

}  // namespace

}  // namespace ropescope

int main(int argc, char** argv) {
  return ropescope::bench::stage_main("stream_stages", argc, argv, ropescope::measure);
}
