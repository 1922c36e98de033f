// What a user meets before any measurement: help, completion, how threads wait, an installed copy.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "ropescope/core/file.h"

#include "tests/support/golden.h"
#include "tests/support/tiny_llava.h"

namespace ropescope {
namespace {

namespace fs = std::filesystem;
using namespace ropescope::testing;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// What a shell line writes.
std::string output_of(const std::string& line) {
  const TemporaryFolder folder;
  const std::string out = folder.path("out");
  EXPECT_EQ(std::system(("{ " + line + "\n} >'" + out + "' </dev/null").c_str()), 0) << line;
  return read_file(out);
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  std::istringstream stream(run_ropescope("help").out);
  const std::regex entry("  ([a-z]+) +[A-Z].*\\.");
  for (std::string line; std::getline(stream, line);) {
    std::smatch match;
    if (std::regex_match(line, match, entry)) names.push_back(match[1]);
  }
  return names;
}

TEST(FirstDay, ANameOfAHubComesWithTheCommandThatFetchesIt) {
  for (const char* command :
       {"inspect", "tokenize --text x", "generate --prompt x", "sample --texts x --output y"}) {
    const auto run = run_ropescope(std::string(command) + " --model Qwen/Qwen2.5-0.5B");
    EXPECT_EQ(run.exit_code, 3) << command;
    EXPECT_THAT(run.err, HasSubstr("hf download Qwen/Qwen2.5-0.5B")) << command;
  }
  EXPECT_THAT(run_ropescope("inspect --model nowhere.gguf").err, Not(HasSubstr("hf download")));
}

TEST(FirstDay, HelpIsTheSameByEveryNameAndEverySummaryIsAVerb) {
  const auto overview = run_ropescope("help");
  EXPECT_EQ(overview.exit_code, 0);
  EXPECT_EQ(run_ropescope("-h").out, overview.out);
  EXPECT_EQ(run_ropescope("--help").out, overview.out);
  const auto names = command_names();
  EXPECT_GE(names.size(), 19u);
  for (const std::string& name : names) {
    const auto help = run_ropescope("help " + name);
    EXPECT_EQ(help.exit_code, 0) << name;
    EXPECT_EQ(run_ropescope(name + " -h").out, help.out) << name;
    // "Trains ...": third person, one sentence.
    EXPECT_TRUE(
        std::regex_search(help.out, std::regex("^[A-Z][a-z]*s [^\\n]*\\.\\n\\nusage: ropescope " + name)))
        << help.out.substr(0, 120);
    EXPECT_THAT(help.out, HasSubstr("\nexample: ropescope " + name));
    EXPECT_THAT(help.out, HasSubstr("Exit codes: 0 done"));
  }
}

TEST(FirstDay, HelpShowsCommonFlagsThatMeanSomething) {
  const std::string compare = run_ropescope("help compare").out;
  for (const char* flag : {"--device", "--dtype", "--threads", "--seed", "--force"}) {
    EXPECT_THAT(compare, Not(HasSubstr(flag)));
  }
  EXPECT_THAT(compare, HasSubstr("--json"));
  EXPECT_THAT(run_ropescope("help export").out, Not(HasSubstr("--device")));
  EXPECT_THAT(run_ropescope("help export").out, HasSubstr("--dtype"));
  EXPECT_THAT(run_ropescope("help score").out, Not(HasSubstr("--csv")));
  EXPECT_THAT(run_ropescope("help trace").out, HasSubstr("--device"));
}

// One flag under both names, wherever it is.
TEST(FirstDay, SchemeAndSchemesAreOneFlag) {
  int found = 0;
  for (const std::string& name : command_names()) {
    const std::string help = run_ropescope("help " + name).out;
    if (!std::regex_search(help, std::regex("--schemes? arg"))) continue;
    ++found;
    for (const char* flag : {"--scheme", "--schemes"}) {
      const auto run = run_ropescope(name + " " + flag + " vanilla --help");
      EXPECT_EQ(run.exit_code, 0) << name << " " << flag << ": " << run.err;
    }
    EXPECT_EQ(run_ropescope(name + " --scheme vanilla --schemes vanilla --help").exit_code, 2) << name;
  }
  EXPECT_GE(found, 7);
}

class Completion : public ::testing::Test {
 protected:
  /// What bash offers behind `line`, whose last word is being typed.
  std::vector<std::string> offered(const std::string& line) {
    const std::string script =
        "eval \"$('" + ropescope_path() + "' completion bash)\"; COMP_WORDS=(" + line +
        "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _ropescope; echo \"${COMPREPLY[@]}\"";
    std::ofstream(folder_.path("script")) << script;
    return words_of(output_of("bash '" + folder_.path("script") + "'"));
  }
  TemporaryFolder folder_;
};

TEST_F(Completion, BashOffersCommandsFlagsAndWords) {
  EXPECT_THAT(offered("ropescope tra"), ElementsAre("trace", "train"));
  EXPECT_THAT(offered("ropescope ''"), IsSupersetOf(command_names()));
  EXPECT_THAT(offered("ropescope help dec"), ElementsAre("decay"));
  EXPECT_THAT(offered("ropescope decay --theta-g"), ElementsAre("--theta-grid"));
  EXPECT_THAT(offered("ropescope decay --sign ''"), ElementsAre("causal", "paper"));
  EXPECT_THAT(offered("ropescope decay --samples s.h5 --source m"), ElementsAre("moments"));
  EXPECT_THAT(offered("ropescope completion z"), ElementsAre("zsh"));
  EXPECT_THAT(offered("ropescope compare --"), Not(Contains("--device")));
  // A value without words of its own: the shell's file names.
  EXPECT_THAT(offered("ropescope decay --samples ''"), ElementsAre());
}

TEST_F(Completion, EveryFlagThatHelpShowsIsInEveryScript) {
  const std::string bash = run_ropescope("completion bash").out, zsh = run_ropescope("completion zsh").out,
                    fish = run_ropescope("completion fish").out;
  const std::regex entry("\\n  --([a-z0-9-]+)");
  for (const std::string& name : command_names()) {
    const std::string help = run_ropescope("help " + name).out;
    for (std::sregex_iterator i(help.begin(), help.end(), entry), end; i != end; ++i) {
      const std::string flag = (*i)[1];
      EXPECT_TRUE(
          std::regex_search(bash, std::regex("        " + name + "\\) words='[^']*--" + flag + "[ ']")))
          << name << " --" << flag;
      EXPECT_THAT(zsh, HasSubstr("--" + flag + "["));
      EXPECT_THAT(fish, HasSubstr("from " + name + "' -l " + flag + " "));
    }
  }
  for (const char* shell : {"bash", "zsh"}) {
    const std::string script = folder_.path(shell);
    std::ofstream(script) << run_ropescope(std::string("completion ") + shell).out;
    const std::string check =
        std::string("! command -v ") + shell + " >/dev/null || " + shell + " -n '" + script + "'";
    EXPECT_EQ(output_of(check), "");
  }
  EXPECT_EQ(run_ropescope("completion").exit_code, 2);
  EXPECT_EQ(run_ropescope("completion bash zsh").exit_code, 2);
  EXPECT_THAT(run_ropescope("completion tcsh").err, HasSubstr("bash, zsh or fish"));
}

// libgomp says on request what it read when it was loaded. It counts rounds of spinning: 0 is passive waiting.
// Something else runs meanwhile: an idle machine is left alone, and whether this one is idle is not known.
TEST(PassiveWaiting, IsTheDefaultBesideOthersAndAUsersWordStands) {
  const auto spins = [](const std::string& environment, const std::string& arguments) {
    const std::string said = output_of(
        "while :; do :; done & busy=$!\nenv -u OMP_WAIT_POLICY -u GOMP_SPINCOUNT OMP_DISPLAY_ENV=verbose " +
        environment + " '" + ropescope_path() + "' " + arguments + " 2>&1; kill $busy");
    std::vector<std::string> found;
    const std::regex entry("GOMP_SPINCOUNT = '([0-9]+)'");
    for (std::sregex_iterator i(said.begin(), said.end(), entry), end; i != end; ++i)
      found.push_back((*i)[1]);
    return found;
  };
  const std::string work = "positions --scheme vanilla --layout text:3 --json";
  EXPECT_THAT(spins("", work), ElementsAre("0"));  // once: the first start ends before libgomp's
  EXPECT_THAT(spins("GOMP_SPINCOUNT=1234", work), ElementsAre("1234"));
  EXPECT_THAT(spins("OMP_WAIT_POLICY=active", work), ElementsAre("30000000000"));
  EXPECT_THAT(spins("", "--version"), ElementsAre(Not("0")));  // not worth a second start
}

TEST(PassiveWaiting, ArgumentsExitCodesAndTheRestOfTheEnvironmentArriveUnchanged) {
  EXPECT_EQ(output_of("env -i PATH=/usr/bin SOURCE_DATE_EPOCH=1 '" + ropescope_path() +
                      "' positions --scheme vanilla --layout 'text:2' --json"),
            run_ropescope("positions --scheme vanilla --layout text:2 --json").out);
  EXPECT_EQ(run_ropescope("positions --scheme 'no such' --layout text:2").exit_code, 2);
  EXPECT_THAT(run_ropescope("positions --scheme 'no  such' --layout text:2").err, HasSubstr("no  such"));
}

TEST(Install, RunsFromWhereItWasMovedTo) {
  const TemporaryFolder folder;
  const std::string build = fs::path(ropescope_path()).parent_path().string();
  output_of("cmake --install '" + build + "' --prefix '" + folder.path("first") + "' >/dev/null");
  fs::rename(folder.path("first"), folder.path("second"));
  const std::string program = "'" + folder.path("second/bin/ropescope") + "'";
  const std::string layout = "positions --scheme id-align --layout text:2,anyres:2x2+2x4,text:2 --json";
  EXPECT_EQ(output_of(program + " " + layout), run_ropescope(layout).out);
  // The figures of the papers come with it.
  const std::string tables = folder.path("second/share/ropescope/paper_tables.json");
  EXPECT_EQ(read_file(tables), read_file(source_path("data/paper_tables.json")));
  EXPECT_THAT(output_of(program + " help report"), HasSubstr("second/share/ropescope"));
  for (const char* file :
       {"share/doc/ropescope/README.md", "share/doc/ropescope/LICENSE", "share/doc/ropescope/docs/install.md",
        "share/zsh/site-functions/_ropescope", "share/fish/vendor_completions.d/ropescope.fish"}) {
    EXPECT_TRUE(fs::exists(folder.path(std::string("second/") + file))) << file;
  }
  EXPECT_EQ(read_file(folder.path("second/share/bash-completion/completions/ropescope")),
            run_ropescope("completion bash").out);
  // A report of a run, by the moved copy and by the build, is the same text.
  write_tiny_llava(folder.path("model"));
  const std::string evaluate = "evaluate --quiet --model '" + folder.path("model") +
                               "' --benchmark pope --data '" + folder.path("items.jsonl") +
                               "' --max-new-tokens 2 --output '" + folder.path("pope") + "'";
  std::ofstream(folder.path("items.jsonl")) << R"({"question": "Is it?", "answer": "yes"})"
                                            << "\n";
  const auto asked = run_ropescope(evaluate);
  ASSERT_EQ(asked.exit_code, 0) << asked.err;
  const std::string report =
      "report --quiet --tables 001:1 --results '" + folder.path("pope") + "' --output ";
  EXPECT_EQ(output_of(program + " " + report + "'" + folder.path("moved.md") + "' 2>&1"), "");
  ASSERT_EQ(run_ropescope(report + "'" + folder.path("built.md") + "'").exit_code, 0);
  EXPECT_EQ(read_file(folder.path("moved.md")), read_file(folder.path("built.md")));
  EXPECT_THAT(read_file(folder.path("moved.md")), HasSubstr("87.97"));
}

}  // namespace
}  // namespace ropescope
