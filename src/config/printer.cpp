// Prints a config as one would write it by hand: nested mappings in blocks, short innermost ones on one line.

#include <algorithm>
#include <utility>

#include "config/fields.h"
#include "config/text.h"

namespace mara::config {
namespace {

constexpr size_t kColumns = 100;

struct Mapping {
  std::string key;
  std::vector<std::string> entries;  // "key: value", or whole lines of a nested mapping
  bool innermost = true;
};

class Printer final : public Fields {
 public:
  Printer() { open_.emplace_back(); }

  void leave() override {
    const Mapping done = std::move(open_.back());
    open_.pop_back();
    Mapping& outer = open_.back();
    outer.innermost = false;
    const std::string flow = done.key + ": {" + join(done.entries) + "}";
    // Indented by two for every mapping around it but the document itself.
    if (done.innermost && flow.size() + 2 * (open_.size() - 1) <= kColumns) {
      outer.entries.push_back(flow);
      return;
    }
    outer.entries.push_back(done.key + ":");
    for (const std::string& entry : done.entries) outer.entries.push_back("  " + entry);
  }
  void kind(const char* key, std::string& value, const std::vector<std::string>&, const char*,
            const std::function<void(const std::string&)>& bind) override {
    visit({key, "", {}}, value);
    bind(value);
  }
  void require(bool, const char*, const std::string&) override {}

  std::string text() const {
    std::string text;
    for (const std::string& line : open_.back().entries) text += line + "\n";
    return text;
  }

 protected:
  void visit(const Info& info, Ref value) override {
    open_.back().entries.push_back(std::string(info.key) + ": " + value_text(value));
  }
  void enter(const char* key, const char*) override { open_.push_back({key, {}}); }
  bool enter_optional(const char* key, const char* help, bool present) override {
    if (present) enter(key, help);
    return present;
  }

 private:
  std::vector<Mapping> open_;
};

}  // namespace

std::string print_with(const std::function<void(Fields&)>& bind) {
  Printer printer;
  bind(printer);
  return printer.text();
}

}  // namespace mara::config
