// What a command that ends early leaves behind: nothing.
#include "ropescope/core/unfinished.h"

#include <csignal>
#include <filesystem>
#include <fstream>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ropescope/core/errors.h"
#include "ropescope/core/file.h"

#include "tests/support/golden.h"

namespace ropescope {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::TemporaryFolder;

/// What the system's refusal says; empty where there is none.
template <typename Call>
std::string refusal_of(const Call& call) {
  try {
    call();
  } catch (const EnvironmentError& error) {
    return error.what();
  }
  return "";
}

TEST(Unfinished, AFolderThatNothingWasWrittenIntoIsTakenAway) {
  const TemporaryFolder folder;
  const fs::path wanted = folder.path("runs/first");
  {
    const OutputFolder made(wanted);
    EXPECT_TRUE(fs::is_directory(wanted));
  }
  EXPECT_FALSE(fs::exists(folder.path("runs")));
  {
    OutputFolder made(wanted);
    made.keep();
  }
  EXPECT_TRUE(fs::is_directory(wanted));
  {
    const OutputFolder there(wanted);  // it was there: it stays
  }
  EXPECT_TRUE(fs::is_directory(wanted));
}

TEST(Unfinished, AMistypedPathBecomesNoFolder) {
  const TemporaryFolder folder;
  EXPECT_THAT(refusal_of([&] { OutputFolder(folder.path("a/b/c")); }),
              HasSubstr("a/b/c: the folder cannot be written"));
  EXPECT_THAT(refusal_of([&] { AtomicFile(folder.path("a/b/c/d.h5"), false); }), HasSubstr("mkdir -p"));
  EXPECT_FALSE(fs::exists(folder.path("a")));
  EXPECT_THROW(OutputFolder("/no-such-folder-of-ropescope"), EnvironmentError);
  EXPECT_FALSE(fs::exists("/no-such-folder-of-ropescope"));
  std::ofstream(folder.path("file")) << "text";
  EXPECT_THROW(OutputFolder(folder.path("file")), EnvironmentError);
}

TEST(Unfinished, AFileThatCannotBeMadeIsRefusedInWordsOfTheSystem) {
  EXPECT_THAT(refusal_of([] { AtomicFile("/proc/x.h5", false); }), HasSubstr("cannot be written ("));
  EXPECT_THROW(AtomicFile("/proc/x.h5", false), EnvironmentError);
}

TEST(Unfinished, WithoutCommitNeitherFileNorItsFolderStay) {
  const TemporaryFolder folder;
  {
    const AtomicFile file(folder.path("results/x.h5"), false);
    std::ofstream(file.temporary_path()) << "half";
    EXPECT_TRUE(fs::exists(file.temporary_path()));
  }
  EXPECT_FALSE(fs::exists(folder.path("results")));
  {
    AtomicFile file(folder.path("results/x.h5"), false);
    std::ofstream(file.temporary_path()) << "whole";
    file.commit();
  }
  EXPECT_EQ(read_file(folder.path("results/x.h5")), "whole");
}

TEST(Unfinished, ASignalTakesTheTemporaryFileAway) {
  const TemporaryFolder folder;
  for (const int signal : {SIGINT, SIGTERM}) {
    const fs::path target = folder.path("x.h5");
    const pid_t child = fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      const AtomicFile file(target, false);
      std::ofstream(file.temporary_path()) << "half";
      raise(signal);
      _exit(0);
    }
    int status = 0;
    ASSERT_EQ(waitpid(child, &status, 0), child);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == signal) << status;
    EXPECT_TRUE(fs::is_empty(folder.path(""))) << signal;
  }
}

}  // namespace
}  // namespace ropescope
