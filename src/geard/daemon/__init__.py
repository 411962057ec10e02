"""The agent: who may come in (`doors`), which question it is (`routes`), the answer in each client's form."""
