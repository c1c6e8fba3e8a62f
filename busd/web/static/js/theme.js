// Runs before the first paint, so that a dark page never flashes white. Not a module on purpose.
(function () {
  try {
    var theme = localStorage.getItem("busd.theme");
    if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  } catch (_) {
    // storage is switched off: the system's choice holds
  }
})();
