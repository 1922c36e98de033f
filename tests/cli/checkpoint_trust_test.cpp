// What commands say of checkpoints whose configuration is not followed, whose names differ, or that do not fit.
#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <ATen/ops/equal.h>

#include "ropescope/core/file.h"
#include "ropescope/io/result_file.h"

#include "tests/support/golden.h"

namespace ropescope::testing {
namespace {

using ::testing::HasSubstr;

const std::string kSource = "language/llama-tiny/safetensors-fp32/";

class CheckpointTrust : public ::testing::Test {
 protected:
  /// A folder with the golden Llama's tensors under other names, and a changed configuration.
  std::string model(const std::string& name, const Json& changes, const std::string& drop = "",
                    const std::string& prefix = "model.") {
    std::map<std::string, at::Tensor> tensors;
    for (const auto& [full, tensor] : golden_tensors(kSource + "model.safetensors")) {
      if (full == drop) continue;
      tensors[full.starts_with("model.") ? prefix + full.substr(6) : full] = tensor;
    }
    Json config = golden_json(kSource + "config.json");
    config.update(changes);
    const std::string path = folder_.write(name + "/config.json", config.dump());
    write_safetensors(folder_.path(name + "/model.safetensors"), tensors);
    return path.substr(0, path.rfind('/'));
  }
  CommandResult trace(const std::string& model, const std::string& dump) {
    const std::string tokens = folder_.write("tokens.json", R"({"input_ids": [[1, 7, 42, 300, 5, 9]]})");
    return run_ropescope("trace --force --model '" + model + "' --tokens '" + tokens + "' --dump " + dump +
                         " --output '" + folder_.path("trace.h5") + "'");
  }
  at::Tensor traced(const std::string& dataset) {
    return ResultReader(folder_.path("trace.h5")).read("/trace/" + dataset);
  }
  at::Tensor logits(const std::string& model, const std::string& words) {
    const CommandResult result = trace(model, "logits");
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(result.err.find("warning") == std::string::npos, words.empty()) << result.err;
    EXPECT_THAT(result.err, HasSubstr(words));
    return traced("logits");
  }

  TemporaryFolder folder_;
};

TEST_F(CheckpointTrust, AnOutputMatrixOfItsOwnCountsAndInspectSaysSo) {
  const std::string plain = model("plain", Json::object());
  const std::string flagged = model("flagged", {{"tie_word_embeddings", true}});
  const at::Tensor expected = logits(plain, "");
  EXPECT_TRUE(at::equal(logits(flagged, "differs from the embedding"), expected));
  const Json json = Json::parse(run_ropescope("inspect --json --model '" + flagged + "'").out);
  EXPECT_EQ(json.at("output_matrix"), "lm_head.weight");
  EXPECT_EQ(json.at("config").at("tie_word_embeddings"), false);
  EXPECT_THAT(run_ropescope("inspect --model '" + flagged + "'").out,
              HasSubstr("though the configuration says tied"));
  const std::string one = model("one", {{"tie_word_embeddings", true}}, "model.embed_tokens.weight");
  EXPECT_EQ(Json::parse(run_ropescope("inspect --json --model '" + one + "'").out).at("output_matrix"),
            "lm_head.weight for both");
}

TEST_F(CheckpointTrust, DynamicGoesByTheConfiguredLength) {
  Json dynamic = {{"rope_parameters", nullptr},
                  {"rope_theta", 1e4},
                  {"rope_scaling", {{"type", "dynamic"}, {"factor", 2.0}}},
                  {"max_position_embeddings", 4}};
  const at::Tensor expected = logits(model("dynamic", dynamic), "");
  dynamic["rope_scaling"]["original_max_position_embeddings"] = 2;
  EXPECT_TRUE(
      at::equal(logits(model("other", dynamic), "original_max_position_embeddings is ignored"), expected));
}

TEST_F(CheckpointTrust, ABaseModelIsTracedWithoutLogits) {
  ASSERT_EQ(trace(model("whole", Json::object()), "q,k").exit_code, 0);
  const at::Tensor expected = traced("q/2");
  const std::string base = model("base", {{"architectures", {"LlamaModel"}}}, "lm_head.weight", "");
  ASSERT_EQ(trace(base, "q,k").exit_code, 0);
  EXPECT_TRUE(at::equal(traced("q/2"), expected));
  const CommandResult refused = trace(base, "logits");
  EXPECT_EQ(refused.exit_code, 3);
  EXPECT_THAT(refused.err, HasSubstr("expected an output matrix"));
  const CommandResult inspected =
      run_ropescope("inspect --estimate --dtype float32 --json --model '" + base + "'");
  const Json json = Json::parse(inspected.out);
  EXPECT_EQ(json.at("output_matrix"), "none");
  EXPECT_EQ(json.at("estimate").at("weights_bytes"), 4 * json.at("parameters").get<double>());
  EXPECT_THAT(run_ropescope("inspect --model '" + base + "'").out, HasSubstr("no output matrix"));
}

TEST_F(CheckpointTrust, InspectShowsEveryRotarySetting) {
  const std::string yarn = model("yarn", {{"rope_parameters", nullptr},
                                          {"rope_scaling",
                                           {{"rope_type", "yarn"},
                                            {"factor", 4.0},
                                            {"truncate", false},
                                            {"mscale", 0.7},
                                            {"mscale_all_dim", 0.6},
                                            {"beta_fast", 20.0}}}});
  const Json rope =
      Json::parse(run_ropescope("inspect --json --model '" + yarn + "'").out).at("config").at("rope");
  EXPECT_EQ(rope.at("truncate"), false);
  EXPECT_EQ(rope.at("mscale"), 0.7);
  EXPECT_EQ(rope.at("beta_fast"), 20);
  EXPECT_TRUE(rope.at("attention_factor").is_null());
  EXPECT_TRUE(rope.at("low_freq_factor").is_null());
  const std::string words = run_ropescope("inspect --model '" + yarn + "'").out;
  for (const char* part : {"beta 20 to 1, not truncated", "mscale 0.7", "mscale_all_dim 0.6"}) {
    EXPECT_THAT(words, HasSubstr(part));
  }
}

TEST_F(CheckpointTrust, WeightsThatDoNotFitAreToldBeforeTheyAreRead) {
  // A sparse file: 1 GiB of bfloat16 that takes no room on the disk. In float32 it would take 2 GiB of memory.
  const Json change = {{"vocab_size", 1 << 20},  {"hidden_size", 512},         {"intermediate_size", 4},
                       {"num_hidden_layers", 1}, {"num_attention_heads", 2},   {"num_key_value_heads", 2},
                       {"head_dim", 2},          {"tie_word_embeddings", true}};
  const std::string folder = model("large", change);
  const std::map<std::string, std::vector<int64_t>> shapes = {
      {"model.embed_tokens.weight", {1 << 20, 512}},
      {"model.norm.weight", {512}},
      {"model.layers.0.input_layernorm.weight", {512}},
      {"model.layers.0.post_attention_layernorm.weight", {512}},
      {"model.layers.0.self_attn.q_proj.weight", {4, 512}},
      {"model.layers.0.self_attn.k_proj.weight", {4, 512}},
      {"model.layers.0.self_attn.v_proj.weight", {4, 512}},
      {"model.layers.0.self_attn.o_proj.weight", {512, 4}},
      {"model.layers.0.mlp.gate_proj.weight", {4, 512}},
      {"model.layers.0.mlp.up_proj.weight", {4, 512}},
      {"model.layers.0.mlp.down_proj.weight", {512, 4}}};
  Json header = Json::object();
  int64_t end = 0;
  for (const auto& [name, shape] : shapes) {
    int64_t bytes = 2;
    for (const int64_t extent : shape) bytes *= extent;
    header[name] = {{"dtype", "BF16"}, {"shape", shape}, {"data_offsets", {end, end + bytes}}};
    end += bytes;
  }
  const std::string text = header.dump();
  const uint64_t length = text.size();
  const std::string file = folder_.write(
      "large/model.safetensors", std::string(reinterpret_cast<const char*>(&length), sizeof length) + text);
  std::filesystem::resize_file(file, sizeof length + length + static_cast<uint64_t>(end));
  const std::string tokens = folder_.write("one.json", R"({"input_ids": [[1]]})");
  const std::string command =
      fmt::format("ulimit -d 1500000; '{}' trace --model '{}' --tokens '{}' --dump q --output '{}' 2>'{}'",
                  ropescope_path(), folder, tokens, folder_.path("q.h5"), folder_.path("words"));
  const int status = std::system(command.c_str());
  EXPECT_EQ(WEXITSTATUS(status), 4);
  EXPECT_THAT(read_file(folder_.path("words")),
              ::testing::AllOf(HasSubstr("2.00 GiB in float32"), HasSubstr("--dtype bfloat16 (1.00 GiB)")));
}

}  // namespace
}  // namespace ropescope::testing
