// Starts Swagger UI. A badge of an online validator would be asked for elsewhere, so there is none.
SwaggerUIBundle({
  dom_id: "#swagger-ui",
  url: document.getElementById("swagger-ui").dataset.url,
  deepLinking: true,
  docExpansion: "list",
  validatorUrl: null,
});
