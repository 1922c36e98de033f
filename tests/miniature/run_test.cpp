// Models, tables and the miniature's whole run, in seconds.
#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include <gtest/gtest.h>

#include "ropescope/core/file.h"
#include "ropescope/models/tensor_slots.h"
#include "ropescope/text/chat_template.h"

#include "miniature/model.h"
#include "miniature/table.h"
#include "miniature/visual.h"
#include "miniature/words.h"
#include "tests/miniature/made_up_runs.h"
#include "tests/support/golden.h"

namespace ropescope::miniature {
namespace {

TEST(Model, ComesBackFromItsFolder) {
  const testing::TemporaryFolder folder;
  Llava llava = fresh_model({}, 1e6, 4);
  save_model(llava, folder.path("model"));
  Llava again = load_model(folder.path("model"));
  EXPECT_EQ(again.decoder.config.rope().theta, 1e6);
  std::map<std::string, at::Tensor> tensors;
  for (const TensorSlot& slot : llava_slots(llava)) tensors[slot.name] = *slot.target;
  for (const TensorSlot& slot : llava_slots(again)) {
    EXPECT_TRUE(testing::all_close(*slot.target, tensors.at(slot.name), 0.0)) << slot.name;
  }
}

TEST(Model, OfAnotherOrderComesBackAndIsTakenForNothingElse) {
  for (const Order order : {Order::kInternvl, Order::kNative}) {
    const testing::TemporaryFolder folder;
    Llava llava = fresh_model({}, 1e5, 4, order);
    save_model(llava, folder.path("model"), "id-align", order);
    Llava again = load_model(folder.path("model"), order);
    EXPECT_EQ(again.decoder.config.rope().theta, 1e5);
    EXPECT_EQ(again.tower.config.packed, order == Order::kNative);
    std::map<std::string, at::Tensor> tensors;
    for (const TensorSlot& slot : llava_slots(llava)) tensors[slot.name] = *slot.target;
    for (const TensorSlot& slot : llava_slots(again)) {
      EXPECT_TRUE(testing::all_close(*slot.target, tensors.at(slot.name), 0.0)) << slot.name;
    }
    EXPECT_THROW(
        load_model(folder.path("model"), order == Order::kNative ? Order::kInternvl : Order::kNative),
        InputError);
    EXPECT_EQ(testing::run_ropescope("generate --model " + folder.path("model") +
                                     " --prompt red --template none --max-new-tokens 1 --quiet")
                  .exit_code,
              3);
  }
}

TEST(Model, ReadsItsWords) {
  const testing::TemporaryFolder folder;
  Llava llava = fresh_model({}, 1e4, 4);
  save_model(llava, folder.path("model"));
  const auto tokenizer = load_tokenizer(folder.path("model"));
  const std::vector<int64_t> ids = encode_with_images(*tokenizer, "<image> red dots pink");
  EXPECT_EQ(ids, (std::vector<int64_t>{kStartId, kImageId, kFirstColourId, first_glyph_id({}),
                                       kFirstColourId + 15}));
}

TEST(Table, MeansIntervalsAndStepsOverSeeds) {
  std::vector<miniature::Run> runs;
  for (const auto& [seed, last] : {std::pair{0, 94}, {1, 96}, {2, 92}}) {
    runs.push_back(parse_run(answered_run("id-align", seed, {30, seed == 2 ? 95 : 80, last}), "a run"));
    runs.push_back(parse_run(answered_run("vanilla", seed, {30, 30, 40}), "a run"));
  }
  const std::vector<Row> rows = make_rows(runs, {"vanilla", "id-align"});
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].scheme, "vanilla");
  EXPECT_TRUE(rows[0].steps_to_solved.empty());
  EXPECT_EQ(rows[1].steps_to_solved, (std::vector<double>{50, 50, 25}));
  // t(0.975, 2) = 4.3027, standard error 0.02 / sqrt(3)
  EXPECT_NEAR(rows[1].measures[2].mean, 0.94, 1e-12);
  EXPECT_NEAR(rows[1].measures[2].ci95_low, 0.94 - 4.302653 * 0.02 / std::sqrt(3.0), 1e-6);
  EXPECT_EQ(share_text(rows[1].measures[2]), "0.94 [0.89, 0.99]");
  EXPECT_NE(markdown_table(rows).find("| 42 (3/3) | 3 |"), std::string::npos) << markdown_table(rows);
}

TEST(Table, RefusesRunsOverPicturesInDifferentOrders) {
  Json internvl = answered_run("id-align", 0, {10});
  internvl["order"] = "internvl";
  EXPECT_THROW(
      make_rows({parse_run(answered_run("vanilla", 0, {10}), "a run"), parse_run(internvl, "a run")}, {}),
      InputError);
}

TEST(Table, RefusesOtherFiles) {
  EXPECT_THROW(parse_run(Json::object(), "x.json"), InputError);
  Json run = answered_run("vanilla", 0, {10});
  run["curve"][0]["seen"]["answers"]["right"] = 101;
  EXPECT_THROW(parse_run(run, "x.json"), InputError);
}

TEST(Visual, SaysWhereNothingWasAsked) {
  EXPECT_EQ(score_text({3, 8}), "0.375");
  EXPECT_EQ(score_text({}), "—");
}

int call(const std::string& arguments) {
  return std::system((testing::miniature_path() + " " + arguments + " --quiet >/dev/null 2>&1").c_str());
}

TEST(Miniature, WholeRunInSeconds) {
  const testing::TemporaryFolder folder;
  const std::string seed = folder.path("seed"), runs = folder.path("runs");
  ASSERT_EQ(call("prepare --output " + seed +
                 " --pictures 16 --test-pictures 6 --tower-steps 2 --width 64 --heads 2"),
            0);
  ASSERT_EQ(call("text --from " + seed + " --text-steps 2 --text-batch 4"), 0);
  const auto train = [&](const std::string& scheme) {
    return call("train --from " + seed + " --scheme '" + scheme +
                "' --steps 4 --batch 4 --measure-every 2 --output '" + runs + "/" + scheme +
                ".json' --save " + folder.path("model"));
  };
  for (const char* scheme : {"vanilla", "id-align+mrope-interleave", "dipe"})
    ASSERT_EQ(train(scheme), 0) << scheme;
  const Json result = read_json_file(runs + "/dipe.json");
  ASSERT_EQ(result["curve"].size(), 3U);  // steps 0, 2, 4
  EXPECT_EQ(result["curve"][2]["seen"]["answers"]["asked"], 6 * 8);
  // The same run again is not made again.
  const auto written = std::filesystem::last_write_time(runs + "/dipe.json");
  ASSERT_EQ(train("dipe"), 0);
  EXPECT_EQ(std::filesystem::last_write_time(runs + "/dipe.json"), written);
  // The same run of another table is copied (told by a time that none takes), one of another rate is not.
  Json known = result;
  known["seconds"] = 1e6;
  std::filesystem::create_directories(folder.path("known"));
  ASSERT_EQ(
      call("train --from " + seed + " --scheme id-align --steps 2 --batch 4 --measure-every 2 --output " +
           folder.path("other/dipe.json")),
      0);
  std::ofstream(folder.path("known/dipe.json")) << known.dump();
  const auto seconds = [&](const std::string& flags) {
    const std::string file = folder.path("again/dipe.json");
    EXPECT_EQ(call("train --from " + seed + " --scheme dipe --steps 4 --batch 4 --measure-every 2 --known " +
                   folder.path("other") + " --known " + folder.path("known") + " --output " + file + flags),
              0);
    return read_json_file(file)["seconds"].get<double>();
  };
  EXPECT_EQ(seconds(""), 1e6);
  EXPECT_LT(seconds(" --rate 0.001"), 1e6);
  EXPECT_EQ(WEXITSTATUS(call("train --from " + seed + " --scheme dipe --known " + folder.path("nowhere") +
                             " --output " + folder.path("x.json"))),
            2);
  known["world"] = Json({{"finer", 2}});
  std::ofstream(folder.path("known/dipe.json")) << known.dump();
  EXPECT_LT(seconds(""), 1e6);
  // Under another base and a scaling of the first: rows and a gain of their own.
  for (const std::string rope : {"--theta 1e3", "--scaling yarn --factor 4"}) {
    ASSERT_EQ(call("text --from " + seed + " --text-steps 2 --text-batch 4 " + rope), 0);
    ASSERT_EQ(
        call("train --from " + seed + " --schemes 'vanilla;id-align' --steps 4 --batch 4 --measure-every 4 " +
             rope + " --output '" + runs + "/{scheme}" + rope.substr(2, 5) + ".json'"),
        0);
  }
  EXPECT_TRUE(std::filesystem::exists(seed + "/start-10000-yarn-4.json"));
  ASSERT_EQ(train("id-align"), 0);
  ASSERT_EQ(call("table --results " + runs + " --output " + folder.path("table")), 0);
  EXPECT_NE(read_file(folder.path("table.md")).find("| dipe |"), std::string::npos);
  EXPECT_NE(read_file(folder.path("table.md")).find("| id-align | 10⁴ yarn:4 |"), std::string::npos);
  EXPECT_NE(read_file(folder.path("table-gain.csv")).find("\"id-align\",\"vanilla\",1,4,yarn:4,10000,105,"),
            std::string::npos);
  EXPECT_GT(std::filesystem::file_size(folder.path("table-gain.png")), 1000U);
  EXPECT_GT(std::filesystem::file_size(folder.path("table.png")), 1000U);
  // The trained model is one like any other.
  const testing::CommandResult answer = testing::run_ropescope(
      "generate --model " + folder.path("model") + " --scheme dipe --image " + seed +
      "/pictures/seen/00000.png --prompt '<image> red' --template none --max-new-tokens 1 --quiet");
  EXPECT_EQ(answer.exit_code, 0) << answer.err;
}

TEST(Miniature, OtherOrdersInSeconds) {
  for (const std::string order : {"internvl", "native"}) {
    const testing::TemporaryFolder folder;
    const std::string seed = folder.path("seed"), runs = folder.path("runs");
    ASSERT_EQ(call("prepare --order " + order + " --output " + seed +
                   " --pictures 16 --test-pictures 6 --tower-steps 2 --width 64 --heads 2"),
              0)
        << order;
    ASSERT_EQ(call("text --from " + seed + " --text-steps 2 --text-batch 4"), 0) << order;
    for (const char* scheme :
         {"vanilla", "id-align", "id-align:newline=in_place", "id-align+mrope-interleave"}) {
      ASSERT_EQ(call("train --from " + seed + " --scheme '" + scheme +
                     "' --steps 2 --batch 4 --measure-every 2 --output '" + runs + "/" + scheme + ".json'"),
                0)
          << order << " " << scheme;
    }
    const Json result = read_json_file(runs + "/id-align.json");
    EXPECT_EQ(result["order"], order);
    int64_t asked = 6 * kCells;  // every thumbnail token
    if (order == "native") {     // of the shapes in turn, tokens that lie in one cell
      asked = 0;
      for (size_t i = 0; i < 6; ++i) {
        for (const int64_t cell : cells_of_tokens(seen_shapes(Order::kNative)[i % 4]))
          asked += cell >= 0 ? 1 : 0;
      }
    }
    EXPECT_EQ(result["curve"].back()["seen"]["correspondence"]["asked"], asked) << order;
    ASSERT_EQ(call("table --results " + runs + " --output " + folder.path("table")), 0);
    EXPECT_NE(read_file(folder.path("table.md")).find("| id-align − vanilla |"), std::string::npos);
  }
}

TEST(Miniature, SeveralSchemesOfAHarderWorldInSeconds) {
  const testing::TemporaryFolder folder;
  const std::string seed = folder.path("seed"), runs = folder.path("runs");
  ASSERT_EQ(call("prepare --task relation --side 8 --glyphs 6 --output " + seed +
                 " --pictures 16 --test-pictures 6 --tower-steps 2 --width 64 --heads 2"),
            0);
  ASSERT_EQ(call("text --from " + seed + " --text-steps 2 --text-batch 4"), 0);
  const std::string train = "train --from " + seed + " --steps 4 --batch 4 --measure-every 4 --questions 4 ";
  ASSERT_EQ(
      call(train + "--schemes 'vanilla;id-align' --measure-at 1,3 --output '" + runs + "/{scheme}.json'"), 0);
  ASSERT_EQ(
      call(train + "--scheme id-align --map mirror --gaze-pictures 3 --output '" + runs + "/mirror.json'"),
      0);
  // The same through the library's passes: the same answers after a few steps.
  ASSERT_EQ(call(train + "--scheme id-align --library --output '" + folder.path("library.json") + "'"), 0);
  const Json quick = read_json_file(runs + "/id-align.json"),
             library = read_json_file(folder.path("library.json"));
  ASSERT_EQ(quick["curve"].size(), 4U);  // steps 0, 1, 3, 4
  EXPECT_EQ(quick["curve"][1]["step"], 1);
  EXPECT_EQ(quick["world"], Json({{"glyphs", 6}, {"side", 8}, {"task", "relation"}}));
  EXPECT_EQ(quick["curve"].back()["seen"], library["curve"].back()["seen"]);
  EXPECT_EQ(quick["curve"].back()["unseen"], library["curve"].back()["unseen"]);
  ASSERT_EQ(call("table --results " + runs + " --output " + folder.path("table")), 0);
  const std::string table = read_file(folder.path("table.md"));
  EXPECT_NE(table.find("| id-align (mirror) − id-align |"), std::string::npos) << table;
  EXPECT_NE(table.find("| id-align (mirror) | 10⁴ | answers and cells | 2 |"), std::string::npos) << table;
  EXPECT_EQ(table.find("| id-align | 10⁴ | answers and cells | 2 |"), std::string::npos)
      << table;  // its gaze was not asked for
  EXPECT_GT(std::filesystem::file_size(folder.path("table-gaze.png")), 1000U);
  const std::string curves = read_file(folder.path("table-runs.csv"));
  EXPECT_EQ(std::count(curves.begin(), curves.end(), '\n'), 1 + 4 + 4 + 2);
  // One file for two schemes, or a map for ids that are nobody's.
  EXPECT_EQ(WEXITSTATUS(call(train + "--schemes 'vanilla;id-align' --output " + folder.path("x.json"))), 2);
  EXPECT_EQ(WEXITSTATUS(call(train + "--scheme vanilla --map mirror --output " + folder.path("x.json"))), 2);
  EXPECT_FALSE(std::filesystem::exists(folder.path("x.json")));
}

TEST(Miniature, CompressedInSeconds) {
  const testing::TemporaryFolder folder;
  const std::string seed = folder.path("seed"), runs = folder.path("runs");
  ASSERT_EQ(call("prepare --output " + seed +
                 " --pictures 16 --test-pictures 6 --tower-steps 2 --width 64 --heads 2"),
            0);
  ASSERT_EQ(call("text --from " + seed + " --text-steps 2 --text-batch 4"), 0);
  const std::string train = "train --from " + seed +
                            " --schemes 'vanilla;id-align' --steps 2 --batch 4 --measure-every 2 --compress ";
  const auto train_into = [&](const std::string& name, const std::string& flags) {
    return call(train + flags + " --output '" + runs + "/{scheme}-" + name + ".json'");
  };
  ASSERT_EQ(train_into("none", "none"), 0);
  ASSERT_EQ(train_into("pool", "pool-2 --merged-id cell"), 0);
  ASSERT_EQ(train_into("mean", "pool-2 --merged-id mean"), 0);
  ASSERT_EQ(train_into("pruned", "prune-75"), 0);
  ASSERT_EQ(train_into("dropped", "drop-90"), 0);
  EXPECT_FALSE(read_json_file(runs + "/vanilla-none.json")["settings"].contains("compress"));
  EXPECT_FALSE(read_json_file(runs + "/vanilla-pool.json")["settings"].contains("merged_id"));  // the usual
  const Json pool = read_json_file(runs + "/id-align-pool.json")["curve"].back();
  // Two pictures of 8x8 and 6x8 each, one of 12x4 and 4x12: 2 (16 + 12) + 12 + 12 of 2 (64 + 48) + 48 + 48; of 8x8 alone a square
  // is a cell.
  EXPECT_EQ(pool["seen"]["tokens_left"], Json({{"right", 80}, {"asked", 320}}));
  EXPECT_EQ(pool["seen"]["cells_left"], Json({{"right", 32}, {"asked", 96}}));
  EXPECT_EQ(pool["seen"]["correspondence"]["asked"], 32);
  EXPECT_EQ(pool["unseen"]["correspondence"]["asked"], 0);  // 8x6, 10x4, 4x10
  const Json pruned = read_json_file(runs + "/vanilla-pruned.json")["curve"].back();
  EXPECT_EQ(pruned["seen"]["tokens_left"], Json({{"right", 80}, {"asked", 320}}));
  ASSERT_EQ(call("table --results " + runs + " --output " + folder.path("table")), 0);
  const std::string table = read_file(folder.path("table.md"));
  for (const char* part :
       {"| id-align (prune-75) − vanilla (prune-75) |", "| id-align (pool-2, mean) − id-align (pool-2) |",
        "| id-align − vanilla |", "| vanilla | drop-90 | 0.10 | 0.10 |", "| id-align (pool-2) | 10⁴ |"}) {
    EXPECT_NE(table.find(part), std::string::npos) << part << "\n" << table;
  }
  EXPECT_EQ(table.find("nan"), std::string::npos) << table;
  EXPECT_GT(std::filesystem::file_size(folder.path("table-compression.png")), 1000U);
  EXPECT_EQ(WEXITSTATUS(call(train + "pool-1 --output " + folder.path("x{scheme}.json"))), 2);
  EXPECT_EQ(WEXITSTATUS(call(train + "pool-2 --library --output " + folder.path("x{scheme}.json"))), 2);
  EXPECT_EQ(WEXITSTATUS(call(train + "pool-2 --gaze-pictures 2 --output " + folder.path("x{scheme}.json"))),
            2);
  EXPECT_EQ(
      WEXITSTATUS(call(train + "pool-2 --distractor-lengths 0,8 --output " + folder.path("x{scheme}.json"))),
      2);
}

// Eyes of two steps see nothing: that is said when they are made and whenever they are used again.
TEST(Miniature, SaysThatEyesSeeTooLittle) {
  const testing::TemporaryFolder folder;
  for (int time = 0; time < 2; ++time) {
    const std::string said = folder.path("said");
    ASSERT_EQ(
        std::system(
            (testing::miniature_path() + " prepare --order native --finer 2 --output " + folder.path("seed") +
             " --pictures 8 --test-pictures 6 --tower-steps 2 --width 64 --heads 2 --quiet >/dev/null 2>" +
             said)
                .c_str()),
        0);
    EXPECT_NE(read_file(said).find("its eyes tell"), std::string::npos) << time;
  }
}

TEST(Miniature, UsageErrorsAreNamed) {
  EXPECT_EQ(WEXITSTATUS(call("nothing")), 2);
  EXPECT_EQ(WEXITSTATUS(call("prepare --order internvl2 --output /nowhere")), 2);
  EXPECT_EQ(WEXITSTATUS(call("prepare --side 6 --output /nowhere")), 2);
  EXPECT_EQ(WEXITSTATUS(call("prepare --task relation --order internvl --output /nowhere")), 2);
  EXPECT_EQ(WEXITSTATUS(call("train --from /nowhere --output x.json --scheme vanila")), 3);
  EXPECT_EQ(WEXITSTATUS(call("text --from /nowhere --scaling dynamic --factor 4")), 2);
  EXPECT_EQ(WEXITSTATUS(call("text --from /nowhere --scaling yarn")), 2);
}

}  // namespace
}  // namespace ropescope::miniature
