// open_checkpoint: forms of one model, folders, shards, damaged files.
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/architectures/open_checkpoint.h"
#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/weights/torch_files.h"

namespace ropescope {
namespace {

namespace fs = std::filesystem;
using testing::golden_json;
using testing::golden_path;
using ::testing::HasSubstr;
using testing::le;
using testing::TemporaryFolder;
using ::testing::ThrowsMessage;

const std::string kLanguage = "language/";

void write(const std::string& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// A safetensors file with one float of this name.
std::string one_float(const std::string& name) {
  const std::string header = R"({")" + name + R"(":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  return le(uint64_t{header.size()}) + header + le(uint32_t{0x3f800000});
}

struct Forms {
  std::string reference;
  std::string form;
  std::string container;
  std::vector<std::string> extra;  ///< tensors that the reference lacks
};

class SameNumbers : public ::testing::TestWithParam<Forms> {};

// Every form of a model carries the same numbers, bit for bit.
TEST_P(SameNumbers, InEveryForm) {
  const auto reference = open_checkpoint(golden_path(kLanguage + GetParam().reference));
  const auto checkpoint = open_checkpoint(golden_path(kLanguage + GetParam().form));
  EXPECT_EQ(checkpoint->container(), GetParam().container);
  std::vector<std::string> extra;
  for (const TensorInfo& info : checkpoint->tensors()) {
    const at::Tensor taken = checkpoint->take(info.name, at::kFloat);
    EXPECT_TRUE(taken.is_contiguous());
    EXPECT_EQ(taken.sizes(), at::IntArrayRef(info.shape));
    if (reference->find(info.name) == nullptr) {
      extra.push_back(info.name);
      continue;
    }
    EXPECT_TRUE(at::equal(taken, reference->take(info.name, at::kFloat))) << info.name;
  }
  EXPECT_EQ(extra, GetParam().extra);
  EXPECT_EQ(checkpoint->tensors().size() - extra.size(), reference->tensors().size());
}

const std::string kLlama = "llama-tiny/safetensors-fp32";
const std::string kQwen = "qwen2-tiny/safetensors-bf16-tied";
INSTANTIATE_TEST_SUITE_P(
    Golden, SameNumbers,
    ::testing::Values(Forms{kLlama, "llama-tiny/safetensors-fp32/model.safetensors", "safetensors", {}},
                      Forms{kLlama, "llama-tiny/safetensors-sharded-bf16", "safetensors", {}},
                      Forms{kLlama, "llama-tiny/bin-fp16", "pytorch", {}},
                      Forms{kLlama,
                            "llama-tiny/bin-sharded-bf16",
                            "pytorch",
                            {"model.layers.0.self_attn.rotary_emb.inv_freq",
                             "model.layers.1.self_attn.rotary_emb.inv_freq",
                             "model.layers.2.self_attn.rotary_emb.inv_freq"}},
                      Forms{kLlama, "llama-tiny/gguf/llama-tiny-F32.gguf", "gguf", {}},
                      Forms{kLlama, "llama-tiny/gguf/llama-tiny-F16.gguf", "gguf", {}},
                      Forms{kQwen, "qwen2-tiny/safetensors-sharded-bf16-tied", "safetensors", {}},
                      Forms{kQwen, "qwen2-tiny/bin-fp16-tied", "pytorch", {"lm_head.weight"}},
                      Forms{kQwen, "qwen2-tiny/safetensors-bf16-untied", "safetensors", {"lm_head.weight"}},
                      Forms{kQwen, "qwen2-tiny/gguf/qwen2-tiny-F16.gguf", "gguf", {}}));

TEST(OpenCheckpoint, ReadsTheFormFromBeforeZip) {
  const auto reference = open_checkpoint(golden_path(kLanguage + kLlama));
  const auto checkpoint = open_checkpoint(golden_path(kLanguage + "llama-tiny/bin-prezip"));
  ASSERT_EQ(checkpoint->tensors().size(), 2U);
  EXPECT_TRUE(at::equal(checkpoint->take("model.norm.weight", at::kFloat),
                        reference->take("model.norm.weight", at::kFloat)));
  EXPECT_TRUE(at::equal(checkpoint->take("lm_head.weight", at::kFloat),
                        reference->take("lm_head.weight", at::kFloat).slice(0, 0, 4)));
}

TEST(OpenCheckpoint, ListsTensorsSortedWithTheirFiles) {
  const auto checkpoint = open_checkpoint(golden_path(kLanguage + "llama-tiny/safetensors-sharded-bf16"));
  const auto& tensors = checkpoint->tensors();
  EXPECT_TRUE(std::is_sorted(tensors.begin(), tensors.end(),
                             [](const TensorInfo& a, const TensorInfo& b) { return a.name < b.name; }));
  EXPECT_EQ(checkpoint->files().size(), 3U);
  const TensorInfo* info = checkpoint->find("lm_head.weight");
  ASSERT_NE(info, nullptr);
  EXPECT_EQ(info->dtype, "BF16");
  EXPECT_EQ(info->bytes, 352U * 64 * 2);
  EXPECT_EQ(info->file, "model-00003-of-00003.safetensors");
}

TEST(OpenCheckpoint, GivesTheVerdictOfTheManifestOnEveryDamagedFile) {
  const Json manifest = golden_json(kLanguage + "malformed/manifest.json");
  ASSERT_EQ(manifest.size(), 31U);
  for (const auto& item : manifest.items()) {
    const std::string path = golden_path(kLanguage + "malformed/" + item.key());
    const bool good = item.key().rfind("ok", 0) == 0;
    try {
      const auto checkpoint = open_checkpoint(path);
      for (const TensorInfo& info : checkpoint->tensors()) checkpoint->take(info.name, at::kFloat);
      EXPECT_TRUE(good) << item.key() << " was accepted: " << item.value();
    } catch (const InputError& error) {
      EXPECT_FALSE(good) << item.key() << " was refused: " << error.what();
      EXPECT_THAT(error.what(), HasSubstr(fs::path(item.key()).parent_path().string()));
    }
  }
}

TEST(OpenCheckpoint, ChoosesByContentNotByName) {
  const TemporaryFolder folder;
  fs::copy_file(golden_path(kLanguage + "malformed/ok.safetensors"), folder.path("pytorch_model.bin"));
  EXPECT_EQ(open_checkpoint(folder.path(""))->container(), "safetensors");
  fs::copy_file(golden_path(kLanguage + "llama-tiny/bin-fp16/pytorch_model.bin"),
                folder.path("weights.gguf"));
  EXPECT_EQ(open_checkpoint(folder.path("weights.gguf"))->container(), "pytorch");
  fs::copy_file(golden_path(kLanguage + "malformed/ok.gguf"), folder.path("noname"));
  EXPECT_EQ(open_checkpoint(folder.path("noname"))->container(), "gguf");
}

TEST(OpenCheckpoint, PrefersSafetensorsAndFindsALoneFile) {
  const TemporaryFolder folder;
  write(folder.path("optimizer.bin"), "x");
  write(folder.path("adapter_model.safetensors"), "x");
  EXPECT_THAT([&] { open_checkpoint(folder.path("")); },
              ThrowsMessage<InputError>(HasSubstr("model.safetensors, model.safetensors.index.json")));
  write(folder.path("other.safetensors"), one_float("other"));
  EXPECT_NE(open_checkpoint(folder.path(""))->find("other"), nullptr);
  write(folder.path("second.safetensors"), one_float("second"));
  EXPECT_THAT([&] { open_checkpoint(folder.path("")); },
              ThrowsMessage<InputError>(HasSubstr("other.safetensors, second.safetensors")));
  write(folder.path("pytorch_model.bin"), "x");
  write(folder.path("model.safetensors"), one_float("main"));
  EXPECT_NE(open_checkpoint(folder.path(""))->find("main"), nullptr);
}

TEST(OpenCheckpoint, JoinsAllShardsOfAFolderWithoutIndex) {
  const TemporaryFolder folder;
  write(folder.path("model-00001-of-00002.safetensors"), one_float("a"));
  write(folder.path("model-00002-of-00002.safetensors"), one_float("b"));
  EXPECT_EQ(open_checkpoint(folder.path(""))->tensors().size(), 2U);
  write(folder.path("model-00002-of-00002.safetensors"), one_float("a"));
  EXPECT_THAT([&] { open_checkpoint(folder.path("")); }, ThrowsMessage<InputError>(HasSubstr("twice")));
  fs::remove(folder.path("model-00001-of-00002.safetensors"));
  write(folder.path("model-00003-of-00003.safetensors"), one_float("c"));
  EXPECT_THROW(open_checkpoint(folder.path("")), InputError);
}

TEST(OpenCheckpoint, ReadsIndexesThatDifferFromTheirShards) {
  const TemporaryFolder folder;
  const std::string index = folder.path("model.safetensors.index.json");
  write(folder.path("one"), one_float("a"));
  write(folder.path("two"), one_float("b"));
  // What the index does not list is kept, so that a model's loader can report it.
  write(index, R"({"weight_map":{"a":"one","b":"two"}})");
  EXPECT_EQ(open_checkpoint(index)->tensors().size(), 2U);
  // Where two shards have one name, the index decides.
  write(folder.path("two"), one_float("a"));
  write(index, R"({"weight_map":{"a":"two"}})");
  EXPECT_EQ(open_checkpoint(index)->find("a")->file, "two");
  write(index, R"({"weight_map":{"a":"one","b":"two"}})");
  EXPECT_THAT([&] { open_checkpoint(index); }, ThrowsMessage<InputError>(HasSubstr("\"b\" in two")));
}

TEST(OpenCheckpoint, RefusesIndexesThatLeaveTheirFolderOrAreDamaged) {
  const TemporaryFolder folder;
  const std::string index = folder.path("model.safetensors.index.json");
  write(folder.path("one"), one_float("a"));
  for (const char* shard : {"..", ".", "", "/etc/passwd", "../one", "sub/one", "one\\\\two", "one\\u0000"}) {
    write(index, std::string(R"({"weight_map":{"a":")") + shard + R"("}})");
    EXPECT_THAT([&] { open_checkpoint(index); }, ThrowsMessage<InputError>(HasSubstr("beside the index")))
        << shard;
  }
  for (const char* text : {"{}", "[]", "{", R"({"weight_map":[]})", R"({"weight_map":{}})",
                           R"({"weight_map":{"a":1}})", R"({"weight_map":{"a":"one","a":"one"}})"}) {
    write(index, text);
    EXPECT_THROW(open_checkpoint(index), InputError) << text;
  }
  // An index that names itself must not be followed in circles.
  write(index, R"({"weight_map":{"a":"model.safetensors.index.json"}})");
  EXPECT_THROW(open_checkpoint(index), InputError);
}

TEST(OpenCheckpoint, MissingAndForeignFilesAreRefusedInWords) {
  const TemporaryFolder folder;
  EXPECT_THAT([&] { open_checkpoint(folder.path("nowhere")); },
              ThrowsMessage<InputError>(HasSubstr("nowhere")));
  write(folder.path("text"), "just some text, no weights");
  EXPECT_THAT([&] { open_checkpoint(folder.path("text")); },
              ThrowsMessage<InputError>(HasSubstr("begins like none")));
  write(folder.path("none"), "");
  EXPECT_THAT([&] { open_checkpoint(folder.path("none")); },
              ThrowsMessage<InputError>(HasSubstr("an empty file")));
}

}  // namespace
}  // namespace ropescope
