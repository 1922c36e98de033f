// `ropescope evaluate` with texts between picture and question, and MM-NIAH's map, on a tiny model with eyes.
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"
#include "ropescope/io/result_file.h"

#include "tests/cli/evaluate_runs.h"
#include "tests/support/golden.h"
#include "tests/support/ranks.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

using namespace ropescope::testing;
using ::testing::HasSubstr;

using Key = std::tuple<int64_t, std::string, int64_t>;  // record, scheme, tokens

std::map<Key, Json> samples_by_key(const std::string& folder) {
  std::map<Key, Json> samples;
  for (const Json& sample : samples_in(folder)) {
    const Key key = {sample.at("record"), sample.at("scheme").is_null() ? "" : sample.at("scheme"),
                     sample.at("distractor_tokens")};
    EXPECT_TRUE(samples.emplace(key, sample).second) << "asked twice: " << sample.dump().substr(0, 80);
  }
  return samples;
}

class EvaluateFar : public ::testing::Test {
 protected:
  void SetUp() override {
    write_tiny_llava(folder_.path("model"));
    std::filesystem::create_directories(folder_.path("essays"));
    std::ofstream(folder_.path("essays/2.txt")) << " Of ships\nand of sealing wax. ";
    std::ofstream(folder_.path("essays/1.txt")) << "The time has come to talk of many things.\n";
    std::ofstream items(folder_.path("items.jsonl"));
    for (const char* image : {"gray_37x53.png", "exif_48x33.jpg"}) {
      std::filesystem::copy_file(synthetic_image(image), folder_.path(image));
      for (const std::string& question : kQuestions) {
        items << Json{{"question", question}, {"answer", "yes"}, {"image", image}}.dump() << "\n";
      }
    }
    items << Json{{"question", "Is water wet?"}, {"answer", "yes"}}.dump() << "\n";
  }

  std::vector<std::string> words(const std::string& output, const std::string& schemes) const {
    return {"evaluate",         "--quiet",
            "--model",          folder_.path("model"),
            "--benchmark",      "pope",
            "--data",           folder_.path("items.jsonl"),
            "--max-new-tokens", "5",
            "--output",         folder_.path(output),
            "--distractor",     folder_.path("essays"),
            "--text-lengths",   "0,7,60,200",
            "--schemes",        schemes};
  }

  CommandResult evaluate(const std::string& output, const std::string& more = "",
                         const std::string& schemes = "vanilla;id-align;dipe") const {
    std::string command;
    for (const std::string& word : words(output, schemes)) command += "'" + word + "' ";
    return run_ropescope(command + more);
  }

  /// The first `tokens` tokens of the joined essays, again and again.
  std::string distractor(int64_t tokens) const {
    const std::string corpus = "The time has come to talk of many things.Of ships and of sealing wax.";
    const std::string model = "--model '" + folder_.path("model") + "' ";
    const auto ids = run_ropescope("tokenize --json --no-special " + model + "--text '" + corpus + "'");
    const auto all = Json::parse(ids.out).at("ids").get<std::vector<int64_t>>();
    Json line = {{"ids", Json::array()}};
    for (int64_t i = 0; i < tokens; ++i) line["ids"].push_back(all[static_cast<size_t>(i) % all.size()]);
    std::ofstream(folder_.path("ids.jsonl")) << line.dump() << "\n";
    const auto text =
        run_ropescope("tokenize --json " + model + "--file '" + folder_.path("ids.jsonl") + "'");
    return Json::parse(text.out).at("text");
  }

  TemporaryFolder folder_;
};

// Keys are shared between questions and lengths; each answer and each share must be that of a prompt of its
// own.
TEST_F(EvaluateFar, EveryPromptIsAnsweredAsAloneAndItsAttentionIsThatOfAttention) {
  const auto run = evaluate("run");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  EXPECT_THAT(run.out, HasSubstr("id-align"));
  const auto samples = samples_by_key(folder_.path("run"));
  EXPECT_EQ(samples.size(), 7u * 3 * 4);
  for (const std::string scheme : {"vanilla", "id-align", "dipe"}) {
    for (const auto& [record, tokens] :
         std::vector<std::pair<int64_t, int64_t>>{{3, 0}, {1, 7}, {5, 60}, {6, 200}}) {
      SCOPED_TRACE(scheme + ", record " + std::to_string(record) + ", " + std::to_string(tokens) + " tokens");
      const std::string image = record <= 3 ? "gray_37x53.png" : "exif_48x33.jpg";
      const std::string question = kQuestions[static_cast<size_t>(record - 1) % 3] +
                                   "\nAnswer the question using a single word or phrase.";
      const std::string text = tokens == 0 ? question : distractor(tokens) + "\n" + question;
      const std::string shared = "--quiet --json --alpha drop --template vicuna_v1 --model '" +
                                 folder_.path("model") + "' --image '" + folder_.path(image) +
                                 "' --prompt '<image>\n" + text + "' ";
      const auto alone = run_ropescope("generate --max-new-tokens 5 --scheme " + scheme + " " + shared);
      ASSERT_EQ(alone.exit_code, 0) << alone.err;
      const Json& sample = samples.at({record, scheme, tokens});
      EXPECT_EQ(sample.at("output"), Json::parse(alone.out).at("text"));
      EXPECT_EQ(sample.at("prompt"), question);
      const auto attention =
          run_ropescope("attention --force --queries last --keep numbers --probe 0 --schemes '" + scheme +
                        "' --output '" + folder_.path("a.h5") + "' " + shared);
      ASSERT_EQ(attention.exit_code, 0) << attention.err;
      const Json report = Json::parse(attention.out);
      EXPECT_NEAR(sample.at("visual_share").get<double>(),
                  report["schemes"][0]["measures"]["visual_share"]["mean"].get<double>(), 1e-5);
      EXPECT_EQ(sample.at("prompt_tokens"), report.at("keys"));
    }
  }
  EXPECT_FALSE(samples.at({7, "dipe", 200}).contains("visual_share"));  // no picture
  const std::string wet = "Is water wet?\nAnswer the question using a single word or phrase.";
  const auto alone = run_ropescope(
      "generate --quiet --json --max-new-tokens 5 --template vicuna_v1 --scheme vanilla --model '" +
      folder_.path("model") + "' --prompt '" + distractor(60) + "\n" + wet + "'");
  EXPECT_EQ(samples.at({7, "vanilla", 60}).at("output"), Json::parse(alone.out).at("text")) << alone.err;
}

TEST_F(EvaluateFar, NumbersCurvesAndTheirFigure) {
  const auto run = evaluate("run", "--json", "vanilla;v2pe:delta=0.5");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json summary = summary_in(folder_.path("run"));
  EXPECT_EQ(summary, Json::parse(run.out));
  EXPECT_EQ(summary.at("distractor"), "essays");
  EXPECT_EQ(summary.at("distractor_sha256").get<std::string>().size(), 64u);
  const auto samples = samples_by_key(folder_.path("run"));
  const ResultReader result(folder_.path("run/result.h5"));
  EXPECT_EQ(result.read("/long_context/text_lengths").numel(), 4);
  for (const Json& curve : summary.at("fading")) {
    for (size_t l = 0; l < 4; ++l) {
      const Json& point = curve.at("points")[l];
      double right = 0, share = 0, uniform = 0;
      for (int64_t record = 1; record <= 7; ++record) {
        const Json& sample = samples.at({record, curve.at("scheme"), point.at("distractor_tokens")});
        right += sample.at("score").get<double>();
        if (!sample.contains("visual_share")) continue;
        share += sample.at("visual_share").get<double>() / 6;
        uniform += sample.at("visual_tokens").get<double>() / sample.at("prompt_tokens").get<double>() / 6;
      }
      EXPECT_EQ(point.at("items"), 7);
      EXPECT_NEAR(point.at("percent").get<double>(), 100 * right / 7, 1e-9);
      EXPECT_NEAR(point.at("visual_share").get<double>(), share, 1e-12);
      EXPECT_NEAR(point.at("uniform_share").get<double>(), uniform, 1e-12);
      EXPECT_LE(point.at("visual_share_ci95")[0].get<double>(), share + 1e-12);
      EXPECT_GE(point.at("visual_share_ci95")[1].get<double>(), share - 1e-12);
      const std::string group = "/long_context/" + curve.at("scheme").get<std::string>();
      EXPECT_NEAR(result.read(group + "/fading/visual_share")[static_cast<int64_t>(l)].item<double>(), share,
                  1e-12);
    }
    EXPECT_EQ(result.read("/long_context/" + curve.at("scheme").get<std::string>() + "/items/score").sizes(),
              (std::vector<int64_t>{4, 7}));
  }
  const auto plot =
      run_ropescope("plot --json '" + folder_.path("run") + "' --output '" + folder_.path("f.png") + "'");
  ASSERT_EQ(plot.exit_code, 0) << plot.err;
  EXPECT_EQ(Json::parse(plot.out).at("kind"), "evaluation-fading");
  EXPECT_GT(std::filesystem::file_size(folder_.path("f.png")), 5000u);
  const std::string folder = "'" + folder_.path("run") + "' ";
  const auto two = run_ropescope("plot --json " + folder + folder + "--labels a,b --output '" +
                                 folder_.path("two.svg") + "'");
  ASSERT_EQ(two.exit_code, 0) << two.err;
  const std::string drawn = read_file(folder_.path("two.svg"));
  for (const char* label : {"a, vanilla", "b, v2pe:delta=0.5", "uniform attention"}) {
    EXPECT_THAT(drawn, HasSubstr(label));
  }
}

TEST_F(EvaluateFar, AKilledRunGoesOnAndAsksNothingTwice) {
  ASSERT_EQ(evaluate("whole").exit_code, 0);
  const std::string file = folder_.path("killed") + "/samples.jsonl";
  evaluate("killed", " >/dev/null 2>&1 & P=$!; while [ ! -f '" + file + "' ] || [ $(wc -l <'" + file +
                         "') -lt 20 ]; do sleep 0.005; done; kill -9 $P; wait $P; true");
  const size_t before = samples_by_key(folder_.path("killed")).size();
  ASSERT_GE(before, 20u);
  ASSERT_LT(before, 84u) << "the run was over before it could be killed";
  const auto resumed = evaluate("killed", "--resume --json");
  ASSERT_EQ(resumed.exit_code, 0) << resumed.err;
  EXPECT_EQ(Json::parse(resumed.out).at("asked_now"), 84 - before);
  const auto all = samples_by_key(folder_.path("killed"));  // (a key that comes twice fails there)
  for (const auto& [key, sample] : samples_by_key(folder_.path("whole"))) {
    EXPECT_EQ(all.at(key).at("output"), sample.at("output"));
  }
  EXPECT_EQ(summary_in(folder_.path("killed")).at("fading")[2]["points"][3]["percent"],
            summary_in(folder_.path("whole")).at("fading")[2]["points"][3]["percent"]);
}

TEST_F(EvaluateFar, TwoProcessesAskAsOne) {
  ASSERT_EQ(evaluate("one").exit_code, 0);
  std::vector<std::string> command = words("two", "vanilla;id-align;dipe");
  command.insert(command.begin(), ropescope_path());
  RankProcesses processes(2, command);
  for (const int rank : {0, 1}) {
    const RankResult result = processes.wait(rank, 120);
    ASSERT_EQ(result.exit_code, 0) << result.text;
  }
  const auto one = samples_by_key(folder_.path("one")), two = samples_by_key(folder_.path("two"));
  ASSERT_EQ(two.size(), one.size());
  for (const auto& [key, sample] : one) {
    EXPECT_EQ(two.at(key), sample);  // texts, scores and shares
  }
  Json a = summary_in(folder_.path("one")), b = summary_in(folder_.path("two"));
  EXPECT_EQ(a.at("fading"), b.at("fading"));
}

TEST_F(EvaluateFar, MistakesAreExplained) {
  EXPECT_EQ(evaluate("a", "--scheme vanilla").exit_code, 2);
  EXPECT_EQ(evaluate("a", "", "vanilla;vanilla").exit_code, 2);
  EXPECT_EQ(evaluate("a", "", "no-such-scheme").exit_code, 2);
  const std::string plain = "evaluate --quiet --model '" + folder_.path("model") +
                            "' --benchmark pope --data '" + folder_.path("items.jsonl") + "' --output '" +
                            folder_.path("b") + "' --max-new-tokens 2 ";
  EXPECT_THAT(run_ropescope(plain + "--schemes 'vanilla;dipe'").err, HasSubstr("--distractor"));
  EXPECT_THAT(run_ropescope(plain + "--text-lengths 0,5").err, HasSubstr("together"));
  const std::string essays = "--distractor '" + folder_.path("essays") + "' --text-lengths ";
  EXPECT_THAT(run_ropescope(plain + essays + "5,10").err, HasSubstr("begin with 0"));
  EXPECT_FALSE(std::filesystem::exists(folder_.path("b")));
  // A run of one kind is not continued as one of the other.
  ASSERT_EQ(run_ropescope(plain).exit_code, 0);
  EXPECT_THAT(run_ropescope(plain + "--resume " + essays + "0,5").err, HasSubstr("--resume"));
  ASSERT_EQ(run_ropescope(plain + "--force " + essays + "0,5").exit_code, 0);
  const auto other = run_ropescope(plain + "--resume");
  EXPECT_EQ(other.exit_code, 2);
  EXPECT_THAT(other.err, HasSubstr("was made with distractor"));
}

TEST_F(EvaluateFar, QuestionsThatNameTheirPicturesAreRefused) {
  std::ofstream(folder_.path("items.jsonl"), std::ios::app)
      << Json{{"question", "Is <image> red?"}, {"answer", "yes"}, {"image", "gray_37x53.png"}}.dump() << "\n";
  const auto run = evaluate("run", "", "vanilla");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const Json rejected = summary_in(folder_.path("run")).at("rejected");
  ASSERT_EQ(rejected.size(), 1u);
  EXPECT_EQ(rejected[0].at("record"), 8);
}

TEST_F(EvaluateFar, NeedlesByDepthAndLength) {
  std::ofstream items(folder_.path("needles.jsonl"));
  const std::vector<std::pair<int64_t, double>> places = {
      {1500, 0.1}, {1500, 0.15}, {5000, 0.5}, {70000, 1.0}, {500, 0.2}};
  for (const auto& [length, depth] : places) {
    items << Json{{"context", "one two"},
                  {"question", "three?"},
                  {"answer", "yes"},
                  {"meta", {{"context_length", length}, {"placed_depth", depth}}}}
                 .dump()
          << "\n";
  }
  items.close();
  const auto run = run_ropescope("evaluate --quiet --model '" + folder_.path("model") +
                                 "' --benchmark mmniah --data '" + folder_.path("needles.jsonl") +
                                 "' --max-new-tokens 2 --output '" + folder_.path("run") + "'");
  ASSERT_EQ(run.exit_code, 0) << run.err;
  const ResultReader result(folder_.path("run/result.h5"));
  const at::Tensor count = result.read("/niah/count"), mean = result.read("/niah/mean");
  EXPECT_EQ(count.sizes(), (std::vector<int64_t>{5, 11}));
  EXPECT_EQ(count.sum().item<int64_t>(), 4);  // below 1000 tokens there is no cell
  EXPECT_EQ(count[0][0].item<int64_t>(), 2);
  EXPECT_EQ(count[2][2].item<int64_t>(), 1);
  EXPECT_EQ(count[4][10].item<int64_t>(), 1);
  for (int64_t row = 0; row < 5; ++row) {
    for (int64_t column = 0; column < 11; ++column) {
      EXPECT_EQ(std::isnan(mean[row][column].item<double>()), count[row][column].item<int64_t>() == 0);
    }
  }
  const auto plot = run_ropescope("plot --kind niah-map '" + folder_.path("run") + "' --output '" +
                                  folder_.path("m.png") + "'");
  ASSERT_EQ(plot.exit_code, 0) << plot.err;
  EXPECT_GT(std::filesystem::file_size(folder_.path("m.png")), 5000u);
}

}  // namespace
}  // namespace ropescope
