#include "tests/support/ranks.h"

#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ropescope/core/file.h"

#include "tests/support/golden.h"

namespace ropescope::testing {

namespace {

int free_port() {
  const int descriptor = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  EXPECT_EQ(bind(descriptor, reinterpret_cast<sockaddr*>(&address), length), 0);
  getsockname(descriptor, reinterpret_cast<sockaddr*>(&address), &length);
  close(descriptor);
  return ntohs(address.sin_port);
}

}  // namespace

RankProcesses::RankProcesses(int ranks, const std::vector<std::string>& command,
                             const std::map<std::string, std::string>& environment) {
  folder_ = (std::filesystem::temp_directory_path() / "ropescope-ranks-XXXXXX").string();
  EXPECT_NE(mkdtemp(folder_.data()), nullptr);
  const std::string port = std::to_string(free_port());
  for (int rank = 0; rank < ranks; ++rank) {
    // Everything that the new process needs is made before it is: nothing but exec may follow a fork here.
    std::map<std::string, std::string> own = environment;
    own["RANK"] = own["LOCAL_RANK"] = std::to_string(rank);
    own["WORLD_SIZE"] = own["LOCAL_WORLD_SIZE"] = std::to_string(ranks);
    own["MASTER_ADDR"] = "127.0.0.1";
    own["MASTER_PORT"] = port;
    std::vector<std::string> variables;
    for (char** variable = environ; *variable != nullptr; ++variable) {
      const std::string text = *variable;
      // (a rank is no shard of this test program: it runs the one test that it is started for)
      const bool of_shards = text.rfind("GTEST_", 0) == 0;
      if (!of_shards && own.count(text.substr(0, text.find('='))) == 0) variables.push_back(text);
    }
    for (const auto& [name, value] : own) variables.push_back(name + "=" + value);
    std::vector<char*> arguments, settings;
    for (const std::string& word : command) arguments.push_back(const_cast<char*>(word.c_str()));
    for (const std::string& text : variables) settings.push_back(const_cast<char*>(text.c_str()));
    arguments.push_back(nullptr);
    settings.push_back(nullptr);
    const std::string output = folder_ + "/" + std::to_string(rank);
    const int file = open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    const pid_t pid = fork();
    if (pid == 0) {
      dup2(file, STDOUT_FILENO);
      dup2(file, STDERR_FILENO);
      execve(arguments[0], arguments.data(), settings.data());
      _exit(127);
    }
    close(file);
    pids_.push_back(pid);
  }
}

RankProcesses::~RankProcesses() {
  for (const pid_t pid : pids_) {
    if (pid <= 0) continue;
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::string RankProcesses::text(int rank) const { return read_file(folder_ + "/" + std::to_string(rank)); }

RankResult RankProcesses::wait(int rank, double seconds) {
  pid_t& pid = pids_[static_cast<size_t>(rank)];
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  int status = 0;
  while (waitpid(pid, &status, WNOHANG) == 0) {
    if (std::chrono::steady_clock::now() > end) return {-1, text(rank)};
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  pid = 0;
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text(rank)};
}

std::vector<RankResult> run_test_ranks(int ranks, const std::string& test,
                                       const std::map<std::string, std::string>& environment) {
  RankProcesses processes(ranks,
                          {std::filesystem::read_symlink("/proc/self/exe").string(), "--gtest_filter=" + test,
                           "--gtest_also_run_disabled_tests"},
                          environment);
  std::vector<RankResult> results;
  for (int rank = 0; rank < ranks; ++rank) results.push_back(processes.wait(rank, 120.0));
  return results;
}

}  // namespace ropescope::testing
