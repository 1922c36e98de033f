// bench/packing: tokens a second of losses and gradients over rows with pictures, padded and packed, as JSON on stdout.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/ops/randint.h>
#include <ATen/ops/randn.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/architectures/vlm_config.h"
#include "ropescope/core/autograd.h"
#include "ropescope/core/device.h"
#include "ropescope/core/durable_file.h"
#include "ropescope/core/file.h"
#include "ropescope/core/json.h"
#include "ropescope/inputs/picture_reader.h"
#include "ropescope/train/vlm_batch.h"
#include "ropescope/weights/safetensors_writer.h"

#include "apps/flags.h"
#include "bench/stage_main.h"

namespace ropescope {

namespace {

namespace fs = std::filesystem;
/// Of the processor, all threads together: other programs of the machine do not count.
template <typename Function>
double seconds_of(const Function& function) {
  const std::clock_t start = std::clock();
  function();
  return static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
}

struct PackingFlags {
  std::string golden;
  int64_t rows = 8, rounds = 5, threads = 0;
  bool help = false;

  void bind(app::Flags& flags) {
    flags.group("ropescope's side of bench/packing");
    flags.add("golden", golden, "the tiny LLaVA-NeXT of the tests, which is made wider").required();
    flags.add("rows", rows, "of a micro-batch").at_least(2);
    flags.add("rounds", rounds, "of all three ways in turn").at_least(1);
    flags.add("threads", threads, "0: all").at_least(0);
    flags.add("help", help, "this text");
  }
};

constexpr int64_t kLayers = 4, kTinyLayers = 2;
// Widths of the tiny model, and of this one. (CLIP's grid of 4 x 4 stays.)
const std::map<int64_t, int64_t> kWider = {{32, 128}, {72, 512}, {64, 256}, {112, 768}, {192, 2048}};

int64_t wider(int64_t size) {
  const auto found = kWider.find(size);
  return found == kWider.end() ? size : found->second;
}

/// The tiny model's folder with other widths, more layers and random weights.
void write_model(const fs::path& golden, const fs::path& folder) {
  fs::create_directories(folder);
  for (const fs::directory_entry& file : fs::directory_iterator(golden)) {
    if (file.path().extension() == ".json") fs::copy(file.path(), folder / file.path().filename());
  }
  Json config = read_json_file(golden / "config.json");
  for (const char* part : {"vision_config", "text_config"}) {
    for (const char* key : {"hidden_size", "intermediate_size", "vocab_size"}) {
      if (config[part].contains(key)) config[part][key] = wider(config[part][key].get<int64_t>());
    }
  }
  config["text_config"]["num_hidden_layers"] = kLayers;
  write_text_durably(folder / "config.json", config.dump());
  std::map<std::string, at::Tensor> tensors;
  const auto checkpoint = open_checkpoint(golden);
  uint64_t seed = 0;
  for (const TensorInfo& info : checkpoint->tensors()) {
    std::vector<int64_t> shape;
    for (const int64_t size : info.shape) shape.push_back(wider(size));
    const std::string layers = "language_model.model.layers.";
    const bool in_layer = info.name.rfind(layers, 0) == 0;
    const std::string rest = in_layer ? info.name.substr(layers.size() + 1) : "";
    for (int64_t l = in_layer ? info.name[layers.size()] - '0' : 0; l < (in_layer ? kLayers : 1);
         l += kTinyLayers) {
      const std::string name = in_layer ? layers + std::to_string(l) + rest : info.name;
      const bool norm =
          shape.size() == 1 && name.find("norm") != std::string::npos && name.ends_with("weight");
      tensors[name] =
          at::randn(shape, at::detail::createCPUGenerator(++seed), at::kFloat).mul(0.02).add(norm ? 1 : 0);
    }
  }
  write_safetensors_file(folder / "model.safetensors", tensors);
}

/// Texts of lengths whose logarithms are evenly spread, three of four with a picture of some shape.
std::vector<VlmRow> mixed_rows(const PictureReader& reader, int64_t count) {
  constexpr double kShortest = 24, kLongest = 768;
  std::vector<VlmRow> rows;
  for (int64_t i = 0; i < count; ++i) {
    VlmRow row;
    row.name = std::to_string(i);
    if (i % 4 != 3) {
      const at::Tensor rgb = at::randint(256, {40 + 23 * (i % 5), 40 + 31 * (i % 3), 3},
                                         at::detail::createCPUGenerator(static_cast<uint64_t>(i)), at::kByte);
      row.items = reader.images({rgb});
      row.items.front().pixel_values = reader.normalised(row.items.front().pixels_u8);
      row.text = {{kImageId}, {-100}};
    }
    const double share = static_cast<double>(i) / static_cast<double>(count - 1);
    const auto words = std::llround(kShortest * std::pow(kLongest / kShortest, share));
    for (int64_t w = 0; w < words; ++w) {
      row.text.ids.push_back(3 + (17 * w + i) % 170);
      row.text.labels.push_back(row.text.ids.back());
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

/// All rows in one batch, padded to the longest.
at::Tensor padded_loss(const Vlm& vlm, const std::vector<VlmRow>& rows) {
  std::vector<size_t> all;
  for (size_t i = 0; i < rows.size(); ++i) all.push_back(i);
  const VlmBatch batch = batch_rows(rows, all, vlm, {});
  ForwardInput input;
  embed(vlm, batch.prompt, see(vlm, batch.items)).give(input);
  input.encoding = &batch.encoding;
  return decoder_loss(vlm.decoder, input, batch.labels, 1e-3, {});
}

void measure(const PackingFlags& flags) {
  set_threads(static_cast<int>(flags.threads));
  const fs::path folder = fs::temp_directory_path() / "ropescope-packed-speed";
  fs::remove_all(folder);
  write_model(flags.golden, folder);
  Vlm vlm = load_vlm(open_checkpoint(folder),
                     parse_vlm_config(read_json_file(folder / "config.json"), folder.string()),
                     read_decoder_config(folder), folder, {});
  const PictureReader reader(folder);
  const std::vector<Parameter> parameters = make_trainable(vlm, {"*"}, {});
  const std::vector<VlmRow> rows = mixed_rows(reader, flags.rows);
  int64_t tokens = 0, longest = 0;
  for (const VlmRow& row : rows) {
    const int64_t length = expanded_length(row, media_marks(vlm.config));
    tokens += length;
    longest = std::max(longest, length);
  }
  ModelLossOptions packing;
  packing.packing = true;
  const std::vector<std::pair<std::string, std::function<at::Tensor()>>> ways = {
      {"padded", [&] { return padded_loss(vlm, rows); }},
      {"grouped", [&] { return vlm_loss(vlm, rows, 1e-3); }},
      {"packed", [&] { return vlm_loss(vlm, rows, 1e-3, packing); }}};
  std::map<std::string, std::vector<double>> seconds;
  Json losses;
  for (int64_t round = -1; round < flags.rounds; ++round) {  // the first one warms up
    for (const auto& [name, loss_of] : ways) {
      drop_gradients(parameters);
      at::Tensor loss;
      const double taken = seconds_of([&, &loss_of = loss_of] {
        loss = loss_of();
        torch::autograd::backward({loss}, {});
      });
      losses[name] = loss.item<double>();
      if (round >= 0) seconds[name].push_back(taken);
    }
  }
  Json report = {{"rows", flags.rows},
                 {"tokens", tokens},
                 {"longest", longest},
                 {"rounds", flags.rounds},
                 {"losses", losses}};
  for (auto& [name, times] : seconds) {
    std::vector<double> ratios;
    for (size_t i = 0; i < times.size(); ++i) ratios.push_back(seconds.at("padded")[i] / times[i]);
    std::sort(ratios.begin(), ratios.end());
    const double fastest = *std::min_element(times.begin(), times.end());
    report["ways"][name] = {
        {"tokens_per_processor_second_of_the_fastest", static_cast<double>(tokens) / fastest},
        {"times_padded",
         {{"least", ratios.front()}, {"median", ratios[ratios.size() / 2]}, {"most", ratios.back()}}}};
  }
  std::printf("%s\n", report.dump(2).c_str());
  fs::remove_all(folder);
}

}  // namespace

}  // namespace ropescope

int main(int argc, char** argv) {
  return ropescope::bench::stage_main<ropescope::PackingFlags>("packed_speed", argc, argv,
                                                               ropescope::measure);
}
