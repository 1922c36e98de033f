#include "tests/support/tiny_llava.h"

#include <filesystem>
#include <fstream>

#include <ATen/ops/arange.h>
#include <ATen/ops/sin.h>

#include "ropescope/weights/checkpoint.h"

namespace ropescope::testing {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kVocabulary = 704;

/// Rows beyond those that are there: waves of many frequencies, of the same size.
at::Tensor taller(const at::Tensor& matrix) {
  const at::Tensor more = at::arange(kVocabulary * matrix.size(1), at::kFloat)
                              .mul(0.7)
                              .sin()
                              .mul(matrix.std().item<double>())
                              .view({kVocabulary, matrix.size(1)});
  more.narrow(0, 0, matrix.size(0)).copy_(matrix);
  return more;
}

}  // namespace

void write_tiny_llava(const std::string& path) {
  const std::string golden = "vision/llava-next-tiny-clip-llama/";
  fs::create_directories(path);
  std::map<std::string, at::Tensor> tensors = golden_tensors(golden + "model.safetensors");
  for (auto& [name, tensor] : tensors) {
    if (tensor.dim() == 2 && tensor.size(0) == 192) tensor = taller(tensor);
  }
  write_safetensors(path + "/model.safetensors", tensors);
  Json config = golden_json(golden + "config.json");
  config["text_config"]["vocab_size"] = kVocabulary;
  config["image_token_index"] = kVocabulary - 1;
  std::ofstream(path + "/config.json") << config.dump(1);
  for (const char* file : {"tokenizer.model", "tokenizer_config.json"}) {
    fs::copy_file(golden_path(std::string("vision/conversations/llama-tiny/") + file), path + "/" + file);
  }
}

std::string make_tiny_llava(const TemporaryFolder& folder) {
  const std::string path = folder.path("llava");
  write_tiny_llava(path);
  return path;
}

std::string synthetic_folder() { return golden_path("vision/preprocess/synthetic"); }

std::string synthetic_image(const std::string& name) { return synthetic_folder() + "/" + name; }

std::vector<std::string> synthetic_images() {
  return {"gray_37x53.png", "cmyk_40x31.jpg",    "rgba_64x41.png",         "exif_48x33.jpg",
          "la_33x21.png",   "palette_50x71.png", "palette_trns_45x30.png", "gray16_31x45.png"};
}

Json conversation_row(const std::string& id, const std::vector<std::string>& images,
                      const std::string& question, const std::string& answer) {
  std::string marks;
  for (size_t i = 0; i < images.size(); ++i) marks += "<image>\n";
  Json row = {{"id", id},
              {"conversations",
               {{{"from", "human"}, {"value", marks + question}}, {{"from", "gpt"}, {"value", answer}}}}};
  if (images.size() == 1) row["image"] = images[0];
  if (images.size() > 1) row["image"] = images;
  return row;
}

std::string make_conversations(const TemporaryFolder& folder, int rows) {
  const std::vector<std::string> names = synthetic_images();
  Json all = Json::array();
  for (int i = 0; i < rows; ++i) {
    const auto image = [&](int step) { return names[static_cast<size_t>(i + step) % names.size()]; };
    std::vector<std::string> images;
    if (i % 4 != 3) images.push_back(image(0));
    if (i % 5 == 4 && !images.empty()) images.push_back(image(3));
    all.push_back(conversation_row("row" + std::to_string(i), images, "What is this?",
                                   "The answer is " + std::to_string(i * 7) + "."));
  }
  const std::string path = folder.path("data.json");
  std::ofstream(path) << all.dump(1);
  return path;
}

}  // namespace ropescope::testing
